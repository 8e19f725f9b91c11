"""Store.prune: old events go whole, in bounded steps; what is unfinished is failed first, what is in hand waits."""

from typing import Any

import pytest

from orderwire.clock import DAY
from orderwire.ids import new_id
from orderwire.model import DedupeKey, DeliveryStatus, Event, RawBody
from orderwire.store.base import AcceptItem, Pruned
from tests.contracts.kit import LANE, Kit, ids

FAILED, RETRYING = DeliveryStatus.FAILED, DeliveryStatus.RETRYING


async def prune(kit: Kit, days: float = 30, limit: int = 100, tenant: str = "default") -> list[Pruned]:
    """Steps until there is no more to do."""
    steps: list[Pruned] = []
    while len(steps) < 200:
        steps.append(await kit.store.prune(tenant, kit.now - round(days * DAY), limit, kit.now))
        if not steps[-1].more:
            return steps
    raise AssertionError("it never ends")


async def old_event(kit: Kit, days: float = 31, **more: Any) -> Event:
    """A finished one, `days` ago."""
    event = kit.event(**more)
    delivery = await kit.put(event)
    await kit.finish([work for work in await kit.claim() if work.delivery_id == delivery])
    kit.clock.advance(days * 86_400)
    return event


async def test_an_old_event_goes_with_all_its_rows(kit: Kit) -> None:
    raw = RawBody(content_type="text/plain", headers="{}", body=b"x")
    event = await old_event(kit, id="k-1", raw=raw)
    (delivery,) = await kit.deliveries()
    steps = await prune(kit)
    assert sum(step.events for step in steps) == 1
    assert await kit.store.get_event("default", "k-1") is None
    assert await kit.store.get_raw("default", event.id) is None
    assert await kit.deliveries() == []
    assert await kit.store.list_attempts("default", delivery.id, 10, None) == []
    (answer,) = await kit.accept(kit.item(kit.event(id="k-1", data=b"other")))
    assert not answer.duplicate


async def test_what_is_younger_stays(kit: Kit) -> None:
    await old_event(kit, days=2)
    border = await old_event(kit, days=30)
    await old_event(kit, days=0)
    await prune(kit)
    assert [event.received_at for event in await kit.events()] == [kit.now, border.received_at]
    assert len(await kit.deliveries()) == 2


async def test_other_tenants_are_untouched(kit: Kit) -> None:
    await kit.put(kit.event(tenant="other", id="k-1"), "dst_o")
    await old_event(kit)
    await prune(kit)
    assert await kit.events() == []
    assert len(await kit.events(tenant="other")) == 1
    assert len(await kit.claim("dst_o", tenant="other")) == 1


async def test_it_goes_in_bounded_steps(kit: Kit) -> None:
    await kit.put_many(95)
    await kit.finish(await kit.claim())
    kit.clock.advance(31 * 86_400)
    steps = await prune(kit, limit=10)
    assert all(step.events <= 10 for step in steps)
    assert sum(step.events for step in steps) == 95
    assert await kit.events() == []


async def test_an_event_with_very_many_deliveries_goes_too(kit: Kit) -> None:
    event = kit.event()
    await kit.accept(AcceptItem(event=event, fanout=tuple((f"dst_{number}", False) for number in range(3_000))))
    while await kit.store.step_fanouts(500, kit.now):
        pass
    await kit.put_many(3)
    kit.clock.advance(31 * 86_400)
    steps = await prune(kit)
    assert (sum(step.events for step in steps), sum(step.expired for step in steps)) == (4, 3_003)
    assert await kit.events() == []
    assert await kit.deliveries() == []
    assert await kit.store.due_lanes() == []


@pytest.mark.parametrize("status", [DeliveryStatus.PENDING, RETRYING])
async def test_an_unfinished_delivery_is_failed_as_expired_in_a_step_of_its_own(
    kit: Kit, status: DeliveryStatus
) -> None:
    delivery = await kit.put()
    if status is RETRYING:
        await kit.finish(await kit.claim(), RETRYING, due_s=10**7)
    kit.clock.advance(31 * 86_400)
    step = await kit.store.prune("default", kit.now - 30 * DAY, 100, kit.now)
    assert (step.expired, step.events, step.more) == (1, 0, True)
    shown = await kit.delivery(delivery)
    assert (shown.status, shown.reason, shown.next_attempt_at) == (FAILED, "expired", None)
    assert await kit.claim() == []
    step = await kit.store.prune("default", kit.now - 30 * DAY, 100, kit.now)
    assert (step.expired, step.events) == (0, 1)
    assert await kit.store.get_delivery("default", delivery) is None


async def test_what_is_in_hand_is_left_and_holds_nothing_else_back(kit: Kit) -> None:
    first = await kit.put()
    (work,) = await kit.claim()
    await kit.put_many(20)
    kit.clock.advance(31 * 86_400)
    steps = await prune(kit, limit=5)
    assert sum(step.events for step in steps) == 20
    assert [step.left for step in steps] == [step is steps[-1] for step in steps]
    assert [one.id for one in await kit.deliveries()] == [first]
    await kit.finish(work)
    assert (await kit.delivery(first)).status is DeliveryStatus.DELIVERED
    assert await prune(kit) == [Pruned(events=1)]


async def test_an_event_with_one_delivery_in_hand_stays_whole(kit: Kit) -> None:
    event = kit.event()
    await kit.put(event, "dst_a", "dst_b")
    await kit.finish(await kit.claim("dst_a"))
    await kit.claim("dst_b")
    kit.clock.advance(31 * 86_400)
    await prune(kit)
    assert len(await kit.deliveries(event=event.id)) == 2


async def test_an_ordered_subject_goes_on_after_an_expired_head(kit: Kit) -> None:
    old = kit.event(subject="order/1")
    await kit.put(old, LANE, ordered=True)
    await kit.finish(await kit.claim(), RETRYING, due_s=10**8)
    kit.clock.advance(31 * 86_400)
    young = await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    assert await kit.claim() == []
    await prune(kit)
    assert ids(await kit.claim()) == [young]


async def test_an_ordered_subject_goes_on_when_its_held_head_is_dropped(kit: Kit) -> None:
    await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    await kit.finish(await kit.claim(), FAILED, hold=True)
    kit.clock.advance(31 * 86_400)
    young = await kit.put(kit.event(subject="order/1"), LANE, ordered=True)
    assert await kit.claim() == []
    await prune(kit)
    assert ids(await kit.claim()) == [young]


async def test_a_key_outlives_its_event_until_its_own_end(kit: Kit) -> None:
    keys = (DedupeKey(scope="source:src_1:webhook_id", key="w-1", expires_at=kit.now + 90 * DAY),)
    first = await old_event(kit, keys=keys, content_hash=b"x")
    await prune(kit)
    assert await kit.events() == []
    (again,) = await kit.accept(kit.item(kit.event(keys=keys, content_hash=b"y"), LANE))
    assert (again.duplicate, again.event_id, again.received_at) == (True, first.id, first.received_at)
    assert (again.delivery_count, again.public_id) == (0, first.id)
    kit.clock.advance(60 * 86_400)
    assert sum(step.keys for step in await prune(kit)) == 1
    (fresh,) = await kit.accept(kit.item(kit.event(keys=keys, content_hash=b"y"), LANE))
    assert not fresh.duplicate


async def test_a_replay_of_what_is_gone_is_not_made(kit: Kit) -> None:
    await kit.put_many(5)
    await kit.fail_all()
    await kit.store.create_replay(kit.job(), kit.now)
    kit.clock.advance(31 * 86_400)
    await prune(kit)
    assert [(job.made, job.finished) for job in await kit.replayed()] == [(0, True)]


async def test_a_fanout_of_what_is_gone_is_not_made(kit: Kit) -> None:
    await kit.accept(AcceptItem(event=kit.event(), fanout=(("dst_1", False), ("dst_2", False))))
    kit.clock.advance(31 * 86_400)
    await prune(kit)
    assert await kit.store.step_fanouts(10, kit.now) == []


async def test_statistics_go_with_the_events_they_are_of(kit: Kit) -> None:
    await old_event(kit, days=31)
    await old_event(kit, days=1)
    assert len(await kit.store.lane_stats(LANE, 0, kit.now)) == 2
    await prune(kit)
    assert len(await kit.store.lane_stats(LANE, 0, kit.now)) == 1


async def test_nothing_to_prune_is_one_empty_step(kit: Kit) -> None:
    await kit.put()
    assert await prune(kit) == [Pruned()]
    assert await kit.store.get_event("default", new_id("evt", kit.now)) is None
