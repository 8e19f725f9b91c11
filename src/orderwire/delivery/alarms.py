"""Wake-ups: one loop timer serves every lane, and each lane has at most one alarm set, its earliest."""

import asyncio
import heapq
from collections.abc import Callable

from orderwire.clock import SECOND, Clock


class Alarms:
    """Calls `ring(name)` when a name's earliest instant has come. Nothing here survives a crash, nor needs to."""

    def __init__(self, clock: Clock, ring: Callable[[str], None]) -> None:
        """No alarm set."""
        self._clock = clock
        self._ring = ring
        self._heap: list[tuple[int, str]] = []
        self._set: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, name: str, at: int) -> None:
        """Ring for `name` at the instant `at`, or earlier if that was asked before."""
        before = self._set.get(name)
        if before is not None and before <= at:
            return
        self._set[name] = at
        heapq.heappush(self._heap, (at, name))
        if self._heap[0] == (at, name):
            self._start(at)

    def stop(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()
        self._set.clear()

    def _start(self, at: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.0, (at - self._clock.now()) / SECOND)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._due)

    def _due(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._set.get(name) == at:  # else an earlier alarm replaced it
                del self._set[name]
                self._ring(name)
        if self._heap:
            self._start(self._heap[0][0])
