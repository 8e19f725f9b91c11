"""Store.claim, release and due_lanes: who has what in hand, and who knows that something waits."""

import asyncio

from orderwire.model import DeliveryStatus
from orderwire.store.base import LaneDue
from tests.contracts.kit import LANE, Kit, ids


async def test_a_claimed_delivery_comes_with_all_that_sending_needs(kit: Kit) -> None:
    event = kit.event("order.paid", subject="order/1", id="mine", data=b'{"a": 10.10}')
    delivery = await kit.put(event, LANE, reason="replay")
    (work,) = await kit.claim()
    assert (work.delivery_id, work.tenant, work.destination) == (delivery, "default", LANE)
    assert (work.event.id, work.event.public_id, work.event.data) == (event.id, "mine", event.data)
    assert (work.attempt_count, work.scheduled_count, work.manual, work.ordered) == (0, 0, False, False)
    assert (work.status, work.due_at, work.reason) == (DeliveryStatus.PENDING, kit.now, "replay")


async def test_nobody_else_has_it_until_it_is_released(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    assert await kit.claim() == []
    await kit.store.release([work], kit.now)
    assert ids(await kit.claim()) == [work.delivery_id]


async def test_nobody_else_has_it_until_it_is_finished(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    await kit.finish(work, DeliveryStatus.RETRYING, due_s=0)
    assert ids(await kit.claim()) == [work.delivery_id]


async def test_released_deliveries_are_as_they_were(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.finish(work, DeliveryStatus.RETRYING, due_s=5)
    kit.clock.advance(5)
    before = await kit.delivery(delivery)
    (work,) = await kit.claim()
    await kit.store.release([work], kit.now)
    assert await kit.delivery(delivery) == before
    assert await kit.claim() == [work]


async def test_releasing_what_is_not_in_hand_changes_nothing(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    await kit.finish(work)
    await kit.store.release([work], kit.now)
    assert (await kit.delivery(work.delivery_id)).status is DeliveryStatus.DELIVERED
    assert await kit.claim() == []


async def test_two_claims_at_once_never_share_a_delivery(kit: Kit) -> None:
    every = await kit.put_many(60)
    claims = await asyncio.gather(*[kit.claim(limit=10) for _ in range(8)])
    got = [delivery for works in claims for delivery in ids(works)]
    assert sorted(got) == sorted(every)


async def test_due_deliveries_come_oldest_due_first(kit: Kit) -> None:
    await kit.put_many(5)
    works = await kit.claim()
    for work, due_s in zip(works, (40, 10, 30, 20, 50), strict=True):
        await kit.finish(work, DeliveryStatus.RETRYING, due_s=due_s)
    kit.clock.advance(60)
    by_due = [works[1], works[3], works[2], works[0], works[4]]
    assert ids(await kit.claim()) == ids(by_due)


async def test_those_due_at_the_same_instant_come_in_the_order_of_acceptance(kit: Kit) -> None:
    every = await kit.put_many(20)
    assert ids(await kit.claim(limit=7)) == every[:7]


async def test_nothing_is_claimed_before_it_is_due(kit: Kit) -> None:
    await kit.put()
    (work,) = await kit.claim()
    await kit.finish(work, DeliveryStatus.RETRYING, due_s=5)
    kit.clock.advance(4.999_999)
    assert await kit.claim() == []
    kit.clock.advance(0.000_001)
    assert len(await kit.claim()) == 1


async def test_a_target_may_be_due_later(kit: Kit) -> None:
    at = kit.now + 3_600_000_000
    delivery = await kit.put(None, LANE, due_at=at)
    assert (await kit.delivery(delivery)).next_attempt_at == at
    assert await kit.store.due_lanes() == [LaneDue(destination=LANE, due_at=at)]
    claimed = await kit.store.claim([kit.want()], kit.now)
    assert (claimed.works, claimed.due) == ([], [LaneDue(destination=LANE, due_at=at)])
    kit.clock.advance(3_600)
    assert ids(await kit.claim()) == [delivery]


async def test_a_claim_takes_no_more_than_it_may(kit: Kit) -> None:
    await kit.put_many(30)
    assert [len(await kit.claim(limit=limit)) for limit in (0, 7, 1, 100)] == [0, 7, 1, 22]


async def test_a_claim_asks_several_lanes_at_once_each_with_its_limit(kit: Kit) -> None:
    await kit.put_many(5, "dst_a", "dst_b", "dst_c")
    claimed = await kit.store.claim([kit.want("dst_a", 2), kit.want("dst_b", 4), kit.want("dst_x", 4)], kit.now)
    lanes = [work.destination for work in claimed.works]
    assert (lanes.count("dst_a"), lanes.count("dst_b"), len(lanes)) == (2, 4, 6)


async def test_one_lanes_backlog_does_not_hide_anothers_one(kit: Kit) -> None:
    await kit.put_many(500, "dst_slow")
    await kit.put(None, "dst_quick")
    claimed = await kit.store.claim([kit.want("dst_slow", 10), kit.want("dst_quick", 10)], kit.now)
    assert [work.destination for work in claimed.works].count("dst_quick") == 1


async def test_a_claim_tells_when_what_is_left_is_due(kit: Kit) -> None:
    await kit.put_many(3)
    claimed = await kit.store.claim([kit.want(limit=2), kit.want("dst_empty")], kit.now)
    assert claimed.due == [LaneDue(destination=LANE, due_at=kit.now)]
    await kit.finish(claimed.works[0], DeliveryStatus.RETRYING, due_s=30)
    await kit.finish(claimed.works[1])
    claimed = await kit.store.claim([kit.want(limit=2)], kit.now)
    assert [due.due_at for due in claimed.due] == [kit.now + 30_000_000]
    kit.clock.advance(30)
    assert (await kit.store.claim([kit.want()], kit.now)).due == []


async def test_another_tenants_lane_gives_nothing(kit: Kit) -> None:
    await kit.put_many(3)
    claimed = await kit.store.claim([kit.want(tenant="other")], kit.now)
    assert (claimed.works, claimed.due) == ([], [])


# -- attempts that a person asked for ------------------------------------------------------------


async def test_manual_retries_come_before_what_is_due(kit: Kit) -> None:
    every = await kit.put_many(3)
    (failed,) = await kit.claim(limit=1)
    await kit.finish(failed, DeliveryStatus.FAILED)
    await kit.store.request_retry("default", failed.delivery_id, kit.now)
    works = await kit.claim(limit=2)
    assert ids(works) == [failed.delivery_id, every[1]]
    assert [work.manual for work in works] == [True, False]


async def test_a_retry_that_is_waiting_and_due_too_is_claimed_once(kit: Kit) -> None:
    first, second = await kit.put_many(2)
    await kit.store.request_retry("default", second, kit.now)
    assert ids(await kit.claim()) == [second, first]


async def test_a_claim_tells_of_manual_retries_it_left(kit: Kit) -> None:
    await kit.put_many(2)
    for work in await kit.fail_all():
        await kit.store.request_retry("default", work.delivery_id, kit.now)
    claimed = await kit.store.claim([kit.want(limit=1)], kit.now)
    assert len(claimed.works) == 1
    assert [due.destination for due in claimed.due] == [LANE]
    assert claimed.due[0].due_at <= kit.now


# -- due_lanes -----------------------------------------------------------------------------------


async def test_due_lanes_names_each_waiting_lane_once_with_its_first_due(kit: Kit) -> None:
    await kit.put_many(3, "dst_b")
    await kit.put_many(1, "dst_a")
    kit.clock.advance(1)
    await kit.put_many(3, "dst_a", "dst_c")
    await kit.put_many(1, "dst_owned", owned=True)
    lanes = await kit.store.due_lanes()
    early = kit.now - 1_000_000
    assert sorted((lane.destination, lane.due_at) for lane in lanes) == [
        ("dst_a", early),
        ("dst_b", early),
        ("dst_c", kit.now),
    ]


async def test_due_lanes_names_lanes_that_wait_for_later_and_forgets_finished_ones(kit: Kit) -> None:
    await kit.put_many(1, "dst_a", "dst_b")
    await kit.finish(await kit.claim("dst_a"), DeliveryStatus.RETRYING, due_s=300)
    await kit.finish(await kit.claim("dst_b"))
    assert await kit.store.due_lanes() == [LaneDue(destination="dst_a", due_at=kit.now + 300_000_000)]


async def test_due_lanes_names_a_lane_with_a_manual_retry_once_and_as_due(kit: Kit) -> None:
    await kit.put_many(2)
    (work, _) = await kit.claim()
    await kit.finish(work, DeliveryStatus.RETRYING, due_s=300)
    await kit.store.request_retry("default", work.delivery_id, kit.now)
    (lane,) = await kit.store.due_lanes()
    assert lane.destination == LANE
    assert lane.due_at <= kit.now


async def test_due_lanes_is_empty_when_all_is_owned_or_finished(kit: Kit) -> None:
    await kit.put_many(3, owned=True)
    await kit.put(None, "dst_b")
    await kit.finish(await kit.claim("dst_b"))
    assert await kit.store.due_lanes() == []
