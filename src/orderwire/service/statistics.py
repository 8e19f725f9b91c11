"""Figures of one destination, from the minutes the store counts. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orderwire.clock import SECOND
from orderwire.model import Outcome, Value
from orderwire.store.base import StatRow

POINTS_MAX = 200
_STEPS_S = (60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000)


class Point(Value, frozen=True, kw_only=True):
    """One step of the time series."""

    at: int
    attempts: int
    delivered: int
    p95_ms: float | None


class Statistics(Value, frozen=True, kw_only=True):
    """Attempts between two instants. Latencies are upper bounds of buckets a factor of 1.41 wide."""

    since: int
    until: int
    attempts: int
    outcomes: dict[str, int]
    success_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    waiting: int
    breaker_open: bool
    hold_until: int | None
    step_s: int
    series: tuple[Point, ...]


def summarise(rows: Sequence[StatRow], since: int, until: int, waiting: int, lane: Mapping[str, Any]) -> Statistics:
    """All figures at once."""
    outcomes: Counter[str] = Counter()
    buckets: Counter[int] = Counter()
    step_s = _step_s(since, until)
    steps: dict[int, list[StatRow]] = {}
    for row in rows:
        outcomes[row.outcome] += row.count
        buckets[row.bucket] += row.count
        steps.setdefault(row.minute_at - row.minute_at % (step_s * SECOND), []).append(row)
    attempts = outcomes.total()
    return Statistics(
        since=since,
        until=until,
        attempts=attempts,
        outcomes=dict(sorted(outcomes.items())),
        success_rate=outcomes[Outcome.DELIVERED] / attempts if attempts else None,
        p50_ms=percentile(buckets, 0.50),
        p95_ms=percentile(buckets, 0.95),
        p99_ms=percentile(buckets, 0.99),
        waiting=waiting,
        breaker_open=bool(lane.get("breaker_open")),
        hold_until=lane.get("hold_until"),
        step_s=step_s,
        series=tuple(_point(at, steps[at]) for at in sorted(steps)),
    )


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The upper bound, in ms, of the bucket where `share` of all is reached; None of nothing."""
    total, seen = sum(buckets.values()), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= share * total:
            return round(2 ** (bucket / 2), 3)
    return None


def _point(at: int, rows: Sequence[StatRow]) -> Point:
    buckets: Counter[int] = Counter()
    for row in rows:
        buckets[row.bucket] += row.count
    return Point(
        at=at,
        attempts=buckets.total(),
        delivered=sum(row.count for row in rows if row.outcome == Outcome.DELIVERED),
        p95_ms=percentile(buckets, 0.95),
    )


def _step_s(since: int, until: int) -> int:
    """The finest step that keeps the series within POINTS_MAX."""
    span_s = (until - since) / SECOND
    return next((step for step in _STEPS_S if span_s / step <= POINTS_MAX), _STEPS_S[-1])
