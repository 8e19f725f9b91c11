"""Replays: of one event, and in bulk as a stored job that makes each delivery exactly once."""

from collections import Counter

import msgspec
import pytest

from orderwire.errors import NotFound
from orderwire.ids import new_id
from orderwire.model import DeliveryStatus
from tests.contracts.kit import LANE, Kit, ids

FAILED, RETRYING, DELIVERED = DeliveryStatus.FAILED, DeliveryStatus.RETRYING, DeliveryStatus.DELIVERED


async def events_waiting(kit: Kit, lane: str = LANE) -> list[str]:
    """Whose deliveries wait, by event."""
    return [work.event.id for work in await kit.claim(lane)]


async def test_a_replay_is_a_new_delivery_of_the_same_event(kit: Kit) -> None:
    event = kit.event(id="mine")
    first = await kit.put(event)
    await kit.finish(await kit.claim())
    target = kit.target(reason="replay")
    assert await kit.store.replay("default", event.id, [target, kit.target("dst_b")], kit.now) == 2
    (work,) = await kit.claim()
    assert (work.delivery_id, work.event.public_id, work.reason) == (target.delivery_id, "mine", "replay")
    assert work.delivery_id != first
    assert len(await kit.deliveries(event="mine")) == 3


async def test_replaying_an_event_that_is_not_there_is_not_found(kit: Kit) -> None:
    with pytest.raises(NotFound):
        await kit.store.replay("default", new_id("evt", kit.now), [kit.target()], kit.now)
    assert await kit.store.due_lanes() == []


async def test_a_thousand_failed_are_each_made_exactly_once(kit: Kit) -> None:
    await kit.put_many(1_000)
    failed = [work.event.id for work in await kit.fail_all()]
    job = await kit.store.create_replay(kit.job(), kit.now)
    assert (job.count, job.made, job.finished) == (1_000, 0, False)
    (done,) = await kit.replayed()
    assert (done.id, done.count, done.made, done.finished) == (job.id, 1_000, 1_000, True)
    assert Counter(await events_waiting(kit)) == Counter(failed)


async def test_asked_again_while_the_first_are_unfinished_it_makes_none(kit: Kit) -> None:
    await kit.put_many(30)
    await kit.fail_all()
    await kit.store.create_replay(kit.job(), kit.now)
    await kit.replayed()
    kit.clock.advance(1)
    again = await kit.store.create_replay(kit.job(), kit.now)
    assert again.count == 0
    assert [job.made for job in await kit.replayed()] == [0]
    assert len(await kit.deliveries()) == 60


async def test_asked_twice_at_once_it_makes_each_once(kit: Kit) -> None:
    await kit.put_many(30)
    await kit.fail_all()
    for _ in range(2):
        await kit.store.create_replay(kit.job(), kit.now)
    assert [job.made for job in await kit.replayed(7)] == [30, 0]
    assert len(await kit.claim()) == 30


async def test_it_resumes_where_it_was_after_a_restart(kit: Kit) -> None:
    await kit.put_many(100)
    failed = [work.event.id for work in await kit.fail_all()]
    job = await kit.store.create_replay(kit.job(), kit.now)
    waiting, steps = [], []
    while step := await kit.store.step_replays(9, kit.now):
        steps += step
        waiting += await events_waiting(kit)
        await kit.reopen()
        await kit.finish(await kit.claim(), FAILED)  # and those it made may fail again meanwhile
    assert len(steps) >= 12
    assert (steps[-1].id, steps[-1].made, steps[-1].finished) == (job.id, 100, True)
    assert sorted(waiting) == sorted(failed)


async def test_the_latest_delivery_of_an_event_decides(kit: Kit) -> None:
    """Failed, then replayed and delivered: not failed any more. And the other way round."""
    good, bad, waiting = (kit.event() for _ in range(3))
    for event in (good, bad, waiting):
        await kit.put(event)
    await kit.fail_all()
    for event in (good, bad, waiting):
        await kit.store.replay("default", event.id, [kit.target()], kit.now)
    works = {work.event.id: work for work in await kit.claim()}
    await kit.finish(works[good.id], DELIVERED)
    await kit.finish(works[bad.id], FAILED)
    await kit.finish(works[waiting.id], RETRYING, due_s=600)
    job = await kit.store.create_replay(kit.job(), kit.now)
    assert job.count == 1
    await kit.replayed()
    assert await events_waiting(kit) == [bad.id]


async def test_an_event_with_an_older_unfinished_delivery_is_skipped(kit: Kit) -> None:
    event = kit.event()
    await kit.put(event)
    await kit.finish(await kit.claim(), RETRYING, due_s=600)
    await kit.store.replay("default", event.id, [kit.target()], kit.now)
    await kit.finish(await kit.claim(), FAILED)
    assert (await kit.store.create_replay(kit.job(), kit.now)).count == 0


async def test_it_takes_types_and_a_span_of_time(kit: Kit) -> None:
    events = []
    for type in ("order.created", "order.paid", "order.paid.late", "orders", "refund.made"):
        for _ in range(2):
            events.append(kit.event(type))
            await kit.put(events[-1])
            kit.clock.advance(10)
    await kit.fail_all()
    start = events[0].received_at
    for types, since, until, expected in (
        (("order.*",), 0, kit.now, [0, 1, 2, 3, 4, 5]),
        (("order.paid", "orders"), 0, kit.now, [2, 3, 6, 7]),
        (("*",), 0, kit.now, list(range(10))),
        ((), start + 20_000_000, start + 60_000_000, [2, 3, 4, 5]),
        (("order.*",), start + 40_000_000, kit.now, [4, 5]),
        (("none.*",), 0, kit.now, []),
    ):
        job = kit.job(types=types, since=since, until=until)
        assert (await kit.store.create_replay(job, kit.now)).count == len(expected)
        assert [done.made for done in await kit.replayed(3)] == [len(expected)]
        works = await kit.claim()
        assert sorted(work.event.id for work in works) == [events[number].id for number in expected]
        await kit.finish(works, FAILED)


@pytest.mark.parametrize("status", [FAILED, DELIVERED, DeliveryStatus.CANCELLED, None])
async def test_it_takes_the_status_asked_for(kit: Kit, status: DeliveryStatus | None) -> None:
    await kit.put_many(8)
    works = await kit.claim()
    await kit.finish(works[:2], FAILED)
    await kit.finish(works[2:4], DELIVERED)
    await kit.finish(works[4:5], RETRYING, due_s=600)
    await kit.store.release(works[5:], kit.now)
    await kit.store.cancel("default", works[5].delivery_id, "x", kit.now)
    await kit.store.cancel("default", works[6].delivery_id, "x", kit.now)
    expected = 6 if status is None else 2
    job = await kit.store.create_replay(kit.job(status=status), kit.now)
    assert job.count == expected
    assert [done.made for done in await kit.replayed()] == [expected]


async def test_it_leaves_other_lanes_and_other_tenants_alone(kit: Kit) -> None:
    await kit.put_many(3, LANE, "dst_b")
    await kit.fail_all(LANE)
    await kit.fail_all("dst_b")
    stranger = await kit.store.create_replay(kit.job(tenant="other"), kit.now)
    assert stranger.count == 0
    await kit.store.create_replay(kit.job(), kit.now)
    await kit.replayed()
    assert len(await kit.claim(LANE)) == 3
    assert await kit.claim("dst_b") == []


async def test_one_step_makes_no_more_than_its_limit(kit: Kit) -> None:
    await kit.put_many(50)
    await kit.fail_all()
    await kit.store.create_replay(kit.job(), kit.now)
    made = 0
    while jobs := await kit.store.step_replays(7, kit.now):
        assert jobs[0].made - made <= 7
        made = jobs[0].made
        assert len(await kit.deliveries()) == 50 + made
    assert made == 50


async def test_a_step_reads_on_past_what_it_does_not_want(kit: Kit) -> None:
    """Few failed among very many delivered: the job ends, and has found them all."""
    wanted = []
    for _ in range(5):
        await kit.put_many(1_500, "dst_a")
        works = await kit.claim()
        wanted.append(works[-1].event.id)
        await kit.finish(works[:-1])
        await kit.finish(works[-1], FAILED)
        await kit.finish(await kit.claim())
    job = await kit.store.create_replay(kit.job(), kit.now)
    assert job.count == 5
    assert [done.made for done in await kit.replayed(3)] == [5]
    assert await events_waiting(kit) == wanted


async def test_several_jobs_are_worked_off_oldest_first(kit: Kit) -> None:
    await kit.put_many(5, "dst_a", "dst_b")
    await kit.fail_all("dst_a")
    await kit.fail_all("dst_b")
    jobs = [await kit.store.create_replay(kit.job(lane), kit.now) for lane in ("dst_b", "dst_a")]
    order = []
    while step := await kit.store.step_replays(3, kit.now):
        order += [one.id for one in step]
    assert order == sorted(order)
    assert set(order) == {job.id for job in jobs}


async def test_what_is_made_waits_pending_as_a_replay(kit: Kit) -> None:
    await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    await kit.fail_all()
    await kit.store.create_replay(kit.job(ordered=True), kit.now)
    kit.clock.advance(5)
    await kit.replayed()
    (work,) = await kit.claim()
    assert (work.reason, work.ordered, work.status, work.due_at) == ("replay", True, DeliveryStatus.PENDING, kit.now)
    assert ids([work]) == [(await kit.deliveries())[0].id]


async def test_a_job_reads_back_as_it_was_asked(kit: Kit) -> None:
    await kit.put_many(2)
    await kit.fail_all()
    asked = kit.job(types=("order.*",), force=True, ordered=True)
    job = await kit.store.create_replay(asked, kit.now)
    assert job == msgspec.structs.replace(asked, count=2)
    (done,) = await kit.replayed()
    assert done == msgspec.structs.replace(job, made=2, finished=True)
