"""Host names looked up by ourselves, so that names whose servers hang hold up no others.

libcurl's own resolver is 20 threads behind one queue: twenty destinations with dead name servers would stop every new
lookup for ten seconds and more. Here a name that was slow once queues with the slow ones from then on. `Engine` hands
the addresses to libcurl (or, behind an egress proxy, asks the proxy for the checked one); the check of the address is
not here but at the socket, whatever was looked up.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from orderwire.delivery.exchange import HttpRequest

CACHE_S = 25.0
CACHED_NAMES_MAX = 10_000
SLOW_S = 1.0
SLOW_NAMES_MAX = 100_000
THREADS_MAX = 64
SLOW_THREADS_MAX = 16

_LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761 6.3: never asked of a name server


class Lookup(NamedTuple):
    """What a host name stands for until `until_s` (monotonic): `addresses` in the order to try, or the `error`."""

    host: str
    addresses: tuple[str, ...]
    until_s: float
    error: str = ""


class Waiting(NamedTuple):
    """A request whose host is being looked up since `since_s` and for use until `until_s` (monotonic).

    `started_at_us` is its start in unix time.
    """

    request: HttpRequest
    port: int
    since_s: float
    until_s: float
    started_at_us: int


class Resolver:
    """`getaddrinfo` on daemon threads; `on_found` is called on one of them and must be quick and thread-safe."""

    def __init__(self, on_found: Callable[[Lookup], None]) -> None:
        self._cache: dict[str, Lookup] = {}
        self._slow_names: set[str] = set()
        self._quick = _Workers(THREADS_MAX, self._look_up)
        self._slow = _Workers(SLOW_THREADS_MAX, self._look_up)
        self._on_found = on_found

    def known(self, host: str, now_s: float) -> Lookup | None:
        """The answer where none need be asked: addresses, localhost, and names asked in the last 25 seconds.

        Raises ValueError where `host` is written like an IPv6 address and is none.
        """
        found = self._cache.get(host)
        if found is not None and found.until_s > now_s:
            return found
        if (addresses := _without_asking(host)) is not None:
            return self._keep(Lookup(host, addresses, float("inf")))
        return None

    def look_up(self, host: str) -> None:
        """Ask; the answer comes through `on_found`. The caller asks once for each name at a time."""
        (self._slow if host in self._slow_names else self._quick).put(host)

    def stop(self) -> None:
        """Let the threads end once they are idle."""
        self._quick.stop()
        self._slow.stop()

    def _look_up(self, host: str) -> None:
        started_s = time.monotonic()
        lookup = _ask(host)
        if time.monotonic() - started_s < SLOW_S:
            self._slow_names.discard(host)
        elif len(self._slow_names) < SLOW_NAMES_MAX:
            self._slow_names.add(host)
        self._on_found(lookup if lookup.error else self._keep(lookup))

    def _keep(self, lookup: Lookup) -> Lookup:
        if len(self._cache) >= CACHED_NAMES_MAX:
            self._cache.clear()
        self._cache[lookup.host] = lookup
        return lookup


class Waitlist:
    """Requests by the host they wait for. A host stays listed until its answer comes, so it is asked once at a time."""

    def __init__(self) -> None:
        self._by_host: dict[str, list[Waiting]] = {}

    def __contains__(self, host: str) -> bool:
        return host in self._by_host

    def __len__(self) -> int:
        return len(self._by_host)

    def add(self, host: str, waiting: Waiting) -> None:
        """Wait for `host`."""
        self._by_host.setdefault(host, []).append(waiting)

    def answered(self, host: str) -> list[Waiting]:
        """Those who waited for `host`, no longer listed."""
        return self._by_host.pop(host, [])

    def take(self, chosen: Callable[[Waiting], bool]) -> list[Waiting]:
        """The chosen ones, no longer listed."""
        taken = []
        for host, waiting in self._by_host.items():
            taken += [one for one in waiting if chosen(one)]
            self._by_host[host] = [one for one in waiting if not chosen(one)]
        return taken


class _Workers:
    """Up to `threads_max` daemon threads at one queue, started as they are needed."""

    def __init__(self, threads_max: int, work: Callable[[str], None]) -> None:
        self._threads_max = threads_max
        self._work = work
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def put(self, host: str) -> None:
        with self._lock:
            starting = self._idle == 0 and self._threads < self._threads_max
            if starting:
                self._threads += 1
            elif self._idle:
                self._idle -= 1
            self._queue.put(host)
        if starting:
            threading.Thread(target=self._run, name="orderwire-resolve", daemon=True).start()

    def stop(self) -> None:
        for _ in range(self._threads_max):
            self._queue.put(None)

    def _run(self) -> None:
        while (host := self._queue.get()) is not None:
            self._work(host)
            with self._lock:
                if self._queue.empty():
                    self._idle += 1


def _without_asking(host: str) -> tuple[str, ...] | None:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return _LOCALHOST
    try:
        return (str(ip_address(host)),)
    except ValueError:
        if ":" in host:
            raise
        return None


def _ask(host: str) -> Lookup:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        return Lookup(host, (), 0.0, f"the host name could not be resolved: {host} ({error})")
    # An address with a zone is link-local: refused whatever happens, and no word libcurl takes.
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found if "%" not in str(entry[4][0]))
    problem = "" if addresses else f"the host name has no usable address: {host}"
    return Lookup(host, tuple(addresses), time.monotonic() + CACHE_S, problem)
