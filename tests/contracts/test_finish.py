"""Store.finish, request_retry and cancel: how an attempt ends and what people may change meanwhile."""

import asyncio

import msgspec
import pytest

from orderwire.model import Attempt, DeliveryStatus, LaneHealth, Outcome
from orderwire.store.base import AcceptItem, StatRow
from tests.contracts.kit import LANE, Kit, ids

FAILED, RETRYING, DELIVERED = DeliveryStatus.FAILED, DeliveryStatus.RETRYING, DeliveryStatus.DELIVERED
PENDING, CANCELLED = DeliveryStatus.PENDING, DeliveryStatus.CANCELLED


async def test_an_attempt_reads_back_as_it_was(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    attempt = Attempt(
        id="att_1",
        delivery=delivery,
        number=1,
        manual=False,
        started_at=kit.now - 7,
        duration_ms=3.25,
        outcome=Outcome.THROTTLED,
        status_code=429,
        error="the receiver answered 429",
        response_headers="HTTP/1.1 429 Too Many\r\nx-odd: \u00e9\r\n",
        response_body=bytes(range(256)),
        response_truncated=True,
        request_url="https://shop.example/hook?a=1",
    )
    await kit.store.finish([kit.ended(work, RETRYING, due_s=5, attempt=attempt)], kit.now)
    assert await kit.store.list_attempts("default", delivery, 10, None) == [attempt]


async def test_a_finished_delivery_shows_its_new_state(kit: Kit) -> None:
    delivery = await kit.put()
    created = kit.now
    (work,) = await kit.claim()
    kit.clock.advance(1)
    await kit.finish(work, RETRYING, due_s=5, reason="timeout")
    shown = await kit.delivery(delivery)
    assert (shown.status, shown.reason, shown.attempt_count) == (RETRYING, "timeout", 1)
    assert (shown.next_attempt_at, shown.created_at, shown.updated_at) == (kit.now + 5_000_000, created, kit.now)
    kit.clock.advance(5)
    (work,) = await kit.claim()
    assert (work.attempt_count, work.scheduled_count, work.status) == (1, 1, RETRYING)
    await kit.finish(work)
    shown = await kit.delivery(delivery)
    assert (shown.status, shown.reason, shown.attempt_count, shown.next_attempt_at) == (DELIVERED, None, 2, None)


async def test_what_was_accepted_as_owned_is_finished_without_a_claim(kit: Kit) -> None:
    await kit.put_many(5, owned=True)
    await kit.reopen()
    works = await kit.claim()
    assert len(works) == 5
    await kit.finish(works)
    assert {shown.status for shown in await kit.deliveries()} == {DELIVERED}


async def test_many_ends_are_written_together(kit: Kit) -> None:
    await kit.put_many(300)
    works = await kit.claim()
    await asyncio.gather(*[kit.finish(works[start : start + 7]) for start in range(0, 300, 7)])
    shown = await kit.deliveries()
    assert len(shown) == 300
    assert {(one.status, one.attempt_count) for one in shown} == {(DELIVERED, 1)}


async def test_attempts_are_listed_newest_first_in_pages(kit: Kit) -> None:
    delivery = await kit.put()
    for _ in range(7):
        (work,) = await kit.claim()
        await kit.finish(work, RETRYING, due_s=0)
    numbers = [attempt.number for attempt in await kit.store.list_attempts("default", delivery, 3, None)]
    numbers += [attempt.number for attempt in await kit.store.list_attempts("default", delivery, 100, 5)]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


async def test_the_end_of_what_is_not_in_hand_changes_nothing(kit: Kit) -> None:
    """A node that was thought dead writes its outcome late: the delivery belongs to another by then."""
    delivery = await kit.put()
    (work,) = await kit.claim()
    late = kit.ended(work, FAILED, announcements=(kit.item(None, "dst_ops"),))
    await kit.store.release([work], kit.now)
    await kit.store.finish([late], kit.now)
    assert (await kit.delivery(delivery)).status is PENDING
    assert await kit.store.list_attempts("default", delivery, 10, None) == []
    assert await kit.store.lane_stats(LANE, 0, kit.now + 1) == []
    assert len(await kit.events()) == 1


async def test_the_same_end_twice_counts_once(kit: Kit) -> None:
    """The first answer may be lost on its way: the node says it again."""
    delivery = await kit.put()
    (work,) = await kit.claim()
    end = kit.ended(work, FAILED, announcements=(kit.item(None, "dst_ops"),))
    await kit.store.finish([end], kit.now)
    await kit.store.finish([end], kit.now)
    assert (await kit.delivery(delivery)).attempt_count == 1
    assert [row.count for row in await kit.store.lane_stats(LANE, 0, kit.now + 1)] == [1]
    assert len(await kit.events()) == 2


async def test_statistics_count_attempts_by_minute_outcome_and_latency(kit: Kit) -> None:
    await kit.put_many(4)
    works = await kit.claim()
    ends = [kit.ended(work, duration_ms=ms) for work, ms in zip(works, (0.5, 1.0, 1.4, 1000.0), strict=True)]
    await kit.store.finish(ends[:2], kit.now)
    await kit.store.finish(ends[2:], kit.now)
    minute = kit.now - kit.now % 60_000_000
    assert await kit.store.lane_stats(LANE, minute, kit.now + 1) == [
        StatRow(minute_at=minute, outcome="delivered", bucket=0, count=2),
        StatRow(minute_at=minute, outcome="delivered", bucket=1, count=1),
        StatRow(minute_at=minute, outcome="delivered", bucket=20, count=1),
    ]
    assert await kit.store.lane_stats("dst_b", 0, kit.now + 1) == []
    assert await kit.store.lane_stats(LANE, minute + 60_000_000, kit.now + 120_000_000) == []


async def test_health_and_announcements_commit_with_the_end(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    health = LaneHealth(
        destination=LANE, failing_since=kit.now, consecutive_failures=3, breaker_open=True, hold_until=kit.now + 9
    )
    told = kit.event("orderwire.delivery.failed")
    await kit.finish(work, FAILED, health=health, announcements=(kit.item(told, "dst_ops"),))
    await kit.reopen()
    assert await kit.store.load_lane_health() == [health]
    assert await kit.store.get_event("default", told.id) is not None
    (announced,) = await kit.claim("dst_ops")
    assert announced.event.type == "orderwire.delivery.failed"
    better = LaneHealth(destination=LANE)
    await kit.store.save_lane_health(better)
    assert await kit.store.load_lane_health() == [better]


async def test_an_end_that_cannot_be_stored_fails_alone(kit: Kit) -> None:
    await kit.put_many(10)
    works = await kit.claim()
    ends = [kit.ended(work) for work in works]
    ends[3] = kit.ended(works[3], FAILED, reason="\ud800")
    answers = await asyncio.gather(*[kit.store.finish([end], kit.now) for end in ends], return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if answer is not None] == [3]
    assert len(await kit.deliveries(status=DELIVERED)) == 9


async def test_waiting_count_counts_everything_unfinished_up_to_its_limit(kit: Kit) -> None:
    await kit.put_many(4)
    await kit.put_many(2, owned=True)
    for _ in range(3):
        await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    await kit.put(None, "dst_b")
    assert await kit.store.waiting_count(LANE, 100) == 9
    assert await kit.store.waiting_count(LANE, 5) == 5
    works = await kit.claim(limit=3)
    assert await kit.store.waiting_count(LANE, 100) == 9
    await kit.finish(works[:1])
    await kit.finish(works[1:2], FAILED)
    await kit.finish(works[2:], RETRYING, due_s=60)
    assert await kit.store.waiting_count(LANE, 100) == 7
    assert await kit.store.waiting_count("dst_none", 100) == 0


# -- retries asked for by a person ---------------------------------------------------------------


@pytest.mark.parametrize("before", [PENDING, RETRYING, FAILED, CANCELLED, DELIVERED])
@pytest.mark.parametrize("good", [True, False])
async def test_a_manual_retry_leaves_the_schedule_as_it_was(kit: Kit, before: DeliveryStatus, good: bool) -> None:
    delivery = await kit.put()
    if before is CANCELLED:
        await kit.store.cancel("default", delivery, "why", kit.now)
    elif before is not PENDING:
        (work,) = await kit.claim()
        await kit.finish(work, before, due_s=300 if before is RETRYING else None)
    shown = await kit.delivery(delivery)
    kit.clock.advance(1)
    asked = await kit.store.request_retry("default", delivery, kit.now)
    assert asked is not None
    assert (asked.id, asked.status, asked.next_attempt_at) == (delivery, before, shown.next_attempt_at)
    (work,) = await kit.claim()
    assert (work.manual, work.status, work.due_at) == (True, before, shown.next_attempt_at)
    await kit.finish(work, DELIVERED if good else FAILED)
    after = await kit.delivery(delivery)
    assert after.attempt_count == shown.attempt_count + 1
    if good:
        assert (after.status, after.next_attempt_at) == (DELIVERED, None)
    else:
        assert (after.status, after.next_attempt_at) == (before, shown.next_attempt_at)
    kit.clock.advance(300)
    unfinished = before in (PENDING, RETRYING) and not good
    works = await kit.claim()
    assert [(one.manual, one.scheduled_count) for one in works] == (
        [(False, int(before is RETRYING))] if unfinished else []
    )


async def test_a_retry_asked_twice_is_one_attempt(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.fail_all()
    for _ in range(2):
        await kit.store.request_retry("default", work.delivery_id, kit.now)
    await kit.finish(await kit.claim(), FAILED)
    assert await kit.claim() == []


async def test_a_retry_asked_while_an_attempt_is_in_hand_comes_after_it(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.store.request_retry("default", delivery, kit.now)
    assert await kit.claim() == []
    await kit.finish(work, RETRYING, due_s=300)
    (again,) = await kit.claim()
    assert (again.manual, again.scheduled_count) == (True, 1)


async def test_a_retry_asked_while_in_hand_is_not_sent_again_once_that_attempt_delivered(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.store.request_retry("default", delivery, kit.now)
    await kit.finish(work)
    assert await kit.claim() == []
    assert await kit.store.due_lanes() == []


async def test_a_released_manual_retry_is_still_a_manual_retry(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.fail_all()
    await kit.store.request_retry("default", work.delivery_id, kit.now)
    await kit.store.release(await kit.claim(), kit.now)
    (again,) = await kit.claim()
    assert again.manual


# -- cancelling ----------------------------------------------------------------------------------


async def test_a_cancelled_delivery_is_not_tried_again(kit: Kit) -> None:
    delivery = await kit.put()
    shown = await kit.store.cancel("default", delivery, "by_hand", kit.now)
    assert shown is not None
    assert (shown.status, shown.reason, shown.next_attempt_at) == (CANCELLED, "by_hand", None)
    kit.clock.advance(10**6)
    assert await kit.claim() == []
    assert await kit.store.due_lanes() == []


@pytest.mark.parametrize("status", [DELIVERED, FAILED])
async def test_cancelling_a_finished_delivery_has_no_effect(kit: Kit, status: DeliveryStatus) -> None:
    delivery = await kit.put()
    await kit.finish(await kit.claim(), status)
    before = await kit.delivery(delivery)
    kit.clock.advance(1)
    assert await kit.store.cancel("default", delivery, "by_hand", kit.now) == before
    assert await kit.delivery(delivery) == before


@pytest.mark.parametrize(("end", "after"), [(RETRYING, CANCELLED), (FAILED, CANCELLED), (DELIVERED, DELIVERED)])
async def test_cancelled_while_in_hand_it_stays_cancelled_unless_it_was_delivered(
    kit: Kit, end: DeliveryStatus, after: DeliveryStatus
) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.store.cancel("default", delivery, "by_hand", kit.now)
    assert await kit.claim() == []
    await kit.finish(work, end, due_s=5 if end is RETRYING else None)
    shown = await kit.delivery(delivery)
    assert (shown.status, shown.attempt_count, shown.next_attempt_at) == (after, 1, None)
    assert shown.reason == ("by_hand" if after is CANCELLED else None)
    kit.clock.advance(10)
    assert await kit.claim() == []


async def test_a_cancelled_delivery_that_is_released_stays_cancelled(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.store.cancel("default", delivery, "by_hand", kit.now)
    await kit.store.release([work], kit.now)
    assert await kit.claim() == []
    assert (await kit.delivery(delivery)).status is CANCELLED


async def test_cancel_takes_back_a_manual_retry_of_an_unfinished_delivery(kit: Kit) -> None:
    delivery = await kit.put()
    await kit.store.request_retry("default", delivery, kit.now)
    await kit.store.cancel("default", delivery, "by_hand", kit.now)
    assert await kit.claim() == []
    assert await kit.store.due_lanes() == []


# -- a deleted lane ------------------------------------------------------------------------------


async def test_a_deleted_lane_is_cancelled_in_steps_until_none_is_left(kit: Kit) -> None:
    for _ in range(4):
        await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    await kit.put_many(5)
    await kit.put_many(3, "dst_b")
    (in_hand, done) = await kit.claim(limit=2)
    await kit.finish(done)
    steps = []
    while step := await kit.store.cancel_lane(LANE, "deleted", 3, kit.now):
        steps.append(step)
        assert step <= 3
    assert sum(steps) == 8
    await kit.finish(in_hand, RETRYING, due_s=5)
    shown = await kit.deliveries(destination=LANE)
    assert [one.status for one in shown].count(CANCELLED) == 8
    assert {one.reason for one in shown if one.status is CANCELLED} == {"deleted"}
    kit.clock.advance(10)
    assert await kit.claim() == []
    assert await kit.store.waiting_count(LANE, 100) == 0
    assert [lane.destination for lane in await kit.store.due_lanes()] == ["dst_b"]
    assert len(await kit.claim("dst_b")) == 3


async def test_what_a_cut_short_cancel_left_is_seen_again(kit: Kit) -> None:
    """A crash between two steps: the sweep finds deleted lanes by what is due, so an ordered rest must be due."""
    for number in range(6):
        await kit.put(kit.event(subject=f"order/{number % 2}"), LANE, ordered=True)
    await kit.store.cancel_lane(LANE, "deleted", 2, kit.now)
    await kit.reopen()
    assert [lane.destination for lane in await kit.store.due_lanes()] == [LANE]
    while await kit.store.cancel_lane(LANE, "deleted", 2, kit.now):
        pass
    assert await kit.store.due_lanes() == []
    assert {one.status for one in await kit.deliveries()} == {CANCELLED}


async def test_a_deleted_lanes_manual_retries_and_bulk_replays_end_with_it(kit: Kit) -> None:
    await kit.put_many(5)
    works = await kit.fail_all()
    await kit.store.request_retry("default", works[0].delivery_id, kit.now)
    await kit.store.create_replay(kit.job(), kit.now)
    await kit.store.cancel_lane(LANE, "deleted", 100, kit.now)
    await kit.replayed()
    assert len(await kit.deliveries()) == 5
    assert await kit.store.due_lanes() == []


async def test_cancelling_a_lane_that_never_was_does_nothing(kit: Kit) -> None:
    assert await kit.store.cancel_lane("dst_none", "deleted", 100, kit.now) == 0


async def test_delivery_lists_and_claims_agree_on_ids(kit: Kit) -> None:
    every = await kit.put_many(10)
    assert ids(await kit.claim()) == every == [one.id for one in await kit.deliveries()][::-1]


async def test_announcements_are_ordinary_events(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    told = AcceptItem(
        event=kit.event("orderwire.x", subject="delivery/1"), targets=(kit.target("dst_o", ordered=True),)
    )
    await kit.store.finish([kit.ended(work, FAILED, announcements=(told,))], kit.now)
    assert [event.id for event in await kit.events(subject="delivery/1")] == [told.event.id]
    assert msgspec.structs.asdict((await kit.claim("dst_o"))[0])["ordered"]
