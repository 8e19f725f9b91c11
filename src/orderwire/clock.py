"""Time, as a thing one is handed. Nothing else in the house asks the operating system for it."""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
INSTANT_MAX = 253_402_300_799_999_999  # the end of the year 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


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
    """Parse RFC 3339 of the years 1970 to 9999, its offset included. Raises ValueError saying what to write."""
    try:
        parsed = datetime.fromisoformat(text.upper()) if _RFC3339.fullmatch(text) else None
    except ValueError:  # the 31st of June
        parsed = None
    at = -1 if parsed is None else (parsed - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= at <= INSTANT_MAX:
        msg = "must be an RFC 3339 time of 1970 or later with its offset, e.g. 2026-11-23T20:01:18Z"
        raise ValueError(msg)
    return at
