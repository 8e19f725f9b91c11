"""When to try again, how fast, and what failures teach: the pure parts of a lane."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from orderwire.clock import DAY, SECOND, ManualClock
from orderwire.delivery import health as health_of
from orderwire.delivery.alarms import Alarms
from orderwire.delivery.limits import TokenBucket
from orderwire.delivery.retry import JITTER, next_due, retry_after_s
from orderwire.model import RETRY_SCHEDULE_S, LaneHealth, RateLimit

START = 1_700_000_000 * SECOND


@given(st.integers(0, len(RETRY_SCHEDULE_S) - 1))
def test_each_delay_but_the_first_varies_by_ten_percent(made: int) -> None:
    due = next_due(RETRY_SCHEDULE_S, made, START)
    assert due is not None
    delay, wanted = (due - START) / SECOND, RETRY_SCHEDULE_S[made]
    assert wanted * (1 - JITTER) - 1e-3 <= delay <= wanted * (1 + JITTER) + 1e-3


def test_the_schedule_ends() -> None:
    assert next_due(RETRY_SCHEDULE_S, len(RETRY_SCHEDULE_S), START) is None
    assert next_due((0,), 1, START) is None


def test_retry_after_is_bounded_and_only_understood_as_a_number() -> None:
    assert retry_after_s("120") == 120
    assert retry_after_s(" 7 ") == 7
    assert retry_after_s("99999999999999999999") == 86_400
    assert retry_after_s("-1") is None
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


@given(
    per_second=st.floats(0.1, 1000),
    burst=st.one_of(st.none(), st.floats(1, 100)),
    steps=st.lists(st.integers(0, 2 * SECOND), max_size=200),
)
def test_a_bucket_never_gives_more_than_rate_times_time_and_burst(
    per_second: float, burst: float | None, steps: list[int]
) -> None:
    limit, now, taken = RateLimit(per_second=per_second, burst=burst), START, 0
    bucket = TokenBucket(limit, now)
    for step in steps:
        now += step
        while bucket.take(now):
            taken += 1
        assert taken <= limit.capacity + per_second * (now - START) / SECOND + 1e-6
        later = bucket.next_at(now)
        assert later > now
        assert TokenBucket(limit, now).take(now)


@given(per_second=st.floats(0.1, 1000))
def test_a_token_is_there_when_the_bucket_said_it_would_be(per_second: float) -> None:
    bucket, now = TokenBucket(RateLimit(per_second=per_second, burst=1), START), START
    for _ in range(20):
        while bucket.take(now):
            pass
        now = bucket.next_at(now)
        assert bucket.take(now)


def test_the_breaker_opens_after_failures_in_a_row_and_a_success_forgives_all() -> None:
    health = LaneHealth(destination="dst_1")
    for _ in range(health_of.BREAKER_FAILURES - 1):
        health = health_of.failed(health, START, None)
    assert not health.breaker_open
    health = health_of.failed(health, START + 1, None)
    assert health.breaker_open
    assert health.failing_since == START
    assert health_of.failed(health, START + 2, None) is health  # nothing new to write
    assert health_of.succeeded(health) == LaneHealth(destination="dst_1")
    well = LaneHealth(destination="dst_1")
    assert health_of.succeeded(well) is well


def test_a_destination_that_only_failed_for_five_days_is_to_be_disabled() -> None:
    health = health_of.failed(LaneHealth(destination="dst_1"), START, None)
    assert not health_of.to_disable(health, START + 5 * DAY - 1)
    assert health_of.to_disable(health, START + 5 * DAY)


async def test_alarms_ring_once_each_at_their_earliest() -> None:
    clock = ManualClock(START)
    rung: list[str] = []
    alarms = Alarms(clock, rung.append)
    alarms.set("a", START + 3 * SECOND)
    alarms.set("a", START + SECOND // 100)
    alarms.set("b", START + SECOND // 100)
    alarms.set("a", START + 2 * SECOND)
    clock.advance(0.02)
    await asyncio.sleep(0.05)
    assert sorted(rung) == ["a", "b"]
    alarms.set("b", clock.now())
    await asyncio.sleep(0.05)
    assert sorted(rung) == ["a", "b", "b"]
    alarms.stop()
