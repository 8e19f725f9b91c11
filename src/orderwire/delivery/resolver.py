"""Host names looked up by ourselves, off every hot thread: only needed behind an egress proxy.

Without a proxy libcurl resolves and the socket is checked. Behind one, the proxy would resolve for us and could be
told (or fooled) to reach a private address; so we resolve, check, and ask the proxy for the checked address.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LOOKUP_THREADS_MAX = 32
CACHE_S = 30.0
CACHED_NAMES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a host name stands for: `addresses` in the order to try, or the `error` in words."""

    host: str
    port: int
    addresses: tuple[str, ...]
    error: str = ""


class Resolver:
    """`getaddrinfo` on a few daemon threads. `on_found` is called on one of them; it must be quick and thread-safe.

    A name whose server hangs holds one thread, however many requests wait for it; the waiting and its deadline are
    the caller's.
    """

    def __init__(self, on_found: Callable[[Lookup], None]) -> None:
        self._on_found = on_found
        self._wanted: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._cache: dict[tuple[str, int], tuple[float, Lookup]] = {}

    def cached(self, host: str, port: int) -> Lookup | None:
        """The answer of the last 30 seconds, if there is one."""
        found = self._cache.get((host, port))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def look_up(self, host: str, port: int) -> None:
        """Ask; the answer comes through `on_found`. The caller asks once for each name at a time."""
        with self._lock:
            start = self._idle == 0 and self._threads < LOOKUP_THREADS_MAX
            self._threads += start
            self._idle -= not start
        self._wanted.put((host, port))
        if start:
            threading.Thread(target=self._work, name="orderwire-resolve", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end once they are idle."""
        for _ in range(LOOKUP_THREADS_MAX):
            self._wanted.put(None)

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            lookup = _look_up(*wanted)
            if not lookup.error:
                if len(self._cache) >= CACHED_NAMES_MAX:
                    self._cache.clear()
                self._cache[wanted] = (time.monotonic() + CACHE_S, lookup)
            with self._lock:
                self._idle += 1
            self._on_found(lookup)


def _look_up(host: str, port: int) -> Lookup:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        return Lookup(host, port, (), f"{host} could not be resolved ({error})")
    return Lookup(host, port, tuple(dict.fromkeys(str(entry[4][0]) for entry in found)))
