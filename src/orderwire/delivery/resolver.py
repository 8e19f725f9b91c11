"""Host names looked up so that names whose servers hang hold up no others.

`getaddrinfo` blocks, so it runs on daemon threads (the only threads of the way out): some for names that answered
before, some for new ones, some for those that were slow the last time. A name is asked once at a time however many
wait for it. What an address may be
connected to is not judged here but by the connector, for every connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

CACHE_S = 25.0
ERROR_CACHE_S = 1.0
CACHED_NAMES_MAX = 10_000
SLOW_S = 1.0
SLOW_NAMES_MAX = 100_000
THREADS_MAX = 64  # for names that answered before, and as many for new ones; started as they are needed
SLOW_THREADS_MAX = 16

_LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761 6.3: never asked of a name server


class Lookup(NamedTuple):
    """What a host name stands for until `until_s` (monotonic): `addresses` in the order to try, or the `error`."""

    host: str
    addresses: tuple[str, ...]
    until_s: float
    error: str = ""


class Resolver:
    """Finds the addresses of names, for one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._cache: dict[str, Lookup] = {}
        self._asked: dict[str, asyncio.Future[Lookup]] = {}
        self._slow_names: set[str] = set()
        self._known = _Workers(THREADS_MAX, self._look_up)
        self._new = _Workers(THREADS_MAX, self._look_up)
        self._slow = _Workers(SLOW_THREADS_MAX, self._look_up)

    async def find(self, host: str) -> Lookup:
        """The addresses of `host`, or why there are none. May take as long as name servers do: cancel it."""
        known = self._cache.get(host)
        if known is not None and known.until_s > time.monotonic():
            return known
        if (addresses := _without_asking(host)) is not None:
            return self._keep(Lookup(host, addresses, float("inf")))
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = self._loop.create_future()
            self._workers(host, known).put(host)
        return await asyncio.shield(asked)

    def stop(self) -> None:
        """Let the threads end once they are idle."""
        self._known.stop()
        self._new.stop()
        self._slow.stop()

    def _workers(self, host: str, known: Lookup | None) -> _Workers:
        """A flood of new names that hang must not hold up those that have always answered."""
        if host in self._slow_names:
            return self._slow
        return self._known if known is not None and known.addresses else self._new

    def _look_up(self, host: str) -> None:
        """On a thread of ours."""
        started_s = time.monotonic()
        lookup = _ask(host)
        slow = time.monotonic() - started_s > SLOW_S
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._found, lookup, slow)

    def _found(self, lookup: Lookup, slow: bool) -> None:  # noqa: FBT001 - call_soon takes no keywords
        if not slow:
            self._slow_names.discard(lookup.host)
        elif len(self._slow_names) < SLOW_NAMES_MAX:
            self._slow_names.add(lookup.host)
        self._asked.pop(lookup.host).set_result(self._keep(lookup))

    def _keep(self, lookup: Lookup) -> Lookup:
        if len(self._cache) >= CACHED_NAMES_MAX:
            self._cache.clear()
        self._cache[lookup.host] = lookup
        return lookup


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
        return None


def _ask(host: str) -> Lookup:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
        return Lookup(host, tuple(addresses), time.monotonic() + CACHE_S)
    except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
        detail = f"the host name could not be resolved: {host} ({error})"
        return Lookup(host, (), time.monotonic() + ERROR_CACHE_S, detail)
