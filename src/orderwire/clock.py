"""Time, as a thing one is handed. Nothing else in the house asks the operating system for it."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Wall time in microseconds since the epoch, UTC, that never goes back within a process."""

    def now(self) -> int:
        """The present instant."""
        ...


class SystemClock:
    """The machine's wall clock at start, moved on by its monotonic clock: a stepped wall clock harms nothing."""

    def __init__(self) -> None:
        """Note the offset between the two clocks."""
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """The present instant."""
        return (time.monotonic_ns() + self._offset_ns) // 1000


class ManualClock:
    """A clock for tests: it stands still until moved."""

    def __init__(self, start: int = 1_700_000_000 * SECOND) -> None:
        """Stand at `start`."""
        self.value = start

    def now(self) -> int:
        """The instant it stands at."""
        return self.value

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self.value += round(seconds * SECOND)


def to_rfc3339(at: int) -> str:
    """`2026-11-23T20:01:18.123456Z`: the one way instants are written for people and programs."""
    return f"{_second_text(at // SECOND)}.{at % SECOND:06d}Z"


@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def from_rfc3339(text: str) -> int:
    """Parse RFC 3339 (an offset or Z is required). Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        msg = "needs a time zone, e.g. 2026-11-23T20:01:18Z"
        raise ValueError(msg)
    return (parsed - _EPOCH) // timedelta(microseconds=1)
