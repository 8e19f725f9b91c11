"""Statistics and rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.clock import DAY, SECOND, ManualClock
from orderwire.errors import TooManyRequests
from orderwire.service.rates import Rates
from orderwire.service.statistics import POINTS_MAX, percentile, summarise
from orderwire.store.base import StatRow

MINUTE = 60 * SECOND


def row(minute: int, outcome: str, bucket: int, count: int) -> StatRow:
    return StatRow(minute_at=minute * MINUTE, outcome=outcome, bucket=bucket, count=count)


def test_figures_add_up() -> None:
    rows = [row(0, "delivered", 4, 90), row(0, "timeout", 20, 9), row(30, "rejected", 6, 1)]
    figures = summarise(rows, 0, 60 * MINUTE, 7, {"breaker_open": True, "hold_until": 5})
    assert figures.outcomes == {"delivered": 90, "rejected": 1, "timeout": 9}
    assert figures.success_rate == 0.9
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == (4, 1024, 1024)
    assert (figures.waiting, figures.breaker_open, figures.hold_until) == (7, True, 5)
    assert [(point.at, point.attempts, point.delivered) for point in figures.series] == [
        (0, 99, 90),
        (30 * MINUTE, 1, 0),
    ]


def test_nothing_has_no_rate() -> None:
    figures = summarise([], 0, DAY, 0, {})
    assert figures.success_rate is None
    assert figures.p99_ms is None
    assert figures.series == ()


@given(days=st.integers(1, 400))
def test_a_series_has_a_bounded_length(days: int) -> None:
    rows = [row(minute, "delivered", 1, 1) for minute in range(0, days * 1440, 601)]
    figures = summarise(rows, 0, days * DAY, 0, {})
    assert len(figures.series) <= POINTS_MAX
    assert sum(point.attempts for point in figures.series) == figures.attempts == len(rows)


def test_percentiles_are_upper_bounds() -> None:
    assert percentile({2: 50, 4: 50}, 0.5) == 2
    assert percentile({2: 50, 4: 50}, 0.51) == 4


def test_a_bucket_fills_with_time() -> None:
    clock = ManualClock()
    rates = Rates(clock, per_key=2, per_tenant=3)

    def take(key: str, tenant: str) -> None:
        for bucket in rates.buckets(key, tenant):
            bucket.take(clock.now())

    take("a", "t")
    take("a", "t")
    with pytest.raises(TooManyRequests) as refused:
        take("a", "t")
    assert refused.value.retry_after_s == 1
    take("b", "t")
    with pytest.raises(TooManyRequests, match="tenant"):
        take("c", "t")
    take("c", "other")
    clock.advance(10)
    take("a", "t")


def test_no_limit_is_no_limit() -> None:
    assert Rates(ManualClock()).buckets("a", "t") == ()
