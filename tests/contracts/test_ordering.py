"""Order, where asked (CONTRACT guarantee 4): one subject's deliveries one at a time, in acceptance order.

First the sentences, then any sequence of acts against a small model in memory.
"""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderwire.model import DeliveryStatus
from orderwire.store.base import AcceptItem, Work
from tests.contracts.kit import LANE, Kit, ids

FAILED, RETRYING, DELIVERED = DeliveryStatus.FAILED, DeliveryStatus.RETRYING, DeliveryStatus.DELIVERED
CANCELLED = DeliveryStatus.CANCELLED


async def put_ordered(kit: Kit, subject: str | None = "order/1", **more: bool | int) -> str:
    return await kit.put(kit.event(subject=subject), LANE, ordered=True, **more)


async def test_only_the_head_of_a_subject_can_be_claimed(kit: Kit) -> None:
    heads = [await put_ordered(kit, f"order/{number}") for number in range(3)]
    for number in range(3):
        await put_ordered(kit, f"order/{number}")
    works = await kit.claim()
    assert ids(works) == heads
    assert all(work.ordered for work in works)
    assert await kit.claim() == []


async def test_the_next_goes_when_the_head_is_finished_in_the_order_of_acceptance(kit: Kit) -> None:
    every = [await put_ordered(kit) for _ in range(6)]
    sent = []
    for status in (DELIVERED, FAILED, DELIVERED, FAILED, DELIVERED, DELIVERED):
        (work,) = await kit.claim()
        sent.append(work.delivery_id)
        await kit.finish(work, status)
    assert sent == every
    assert await kit.claim() == []


async def test_a_head_that_is_tried_again_holds_the_next_back(kit: Kit) -> None:
    first, _ = await put_ordered(kit), await put_ordered(kit)
    (work,) = await kit.claim()
    await kit.finish(work, RETRYING, due_s=60)
    assert await kit.claim() == []
    kit.clock.advance(60)
    assert ids(await kit.claim()) == [first]


async def test_other_subjects_are_not_held_up(kit: Kit) -> None:
    await put_ordered(kit, "order/1")
    (work,) = await kit.claim()
    await kit.finish(work, RETRYING, due_s=60)
    other = await put_ordered(kit, "order/2")
    assert ids(await kit.claim()) == [other]


async def test_the_same_subject_at_another_lane_is_not_held_up(kit: Kit) -> None:
    event = kit.event(subject="order/1")
    await kit.put(event, "dst_a", "dst_b", ordered=True)
    assert len(await kit.claim("dst_a")) == len(await kit.claim("dst_b")) == 1


async def test_without_a_subject_there_is_no_order(kit: Kit) -> None:
    every = [await put_ordered(kit, None) for _ in range(3)]
    works = await kit.claim()
    assert ids(works) == every
    assert not any(work.ordered for work in works)


async def test_a_batch_keeps_its_own_order(kit: Kit) -> None:
    items = [kit.item(kit.event(subject="order/1"), LANE, ordered=True) for _ in range(20)]
    await kit.accept(*items)
    for item in items:
        (work,) = await kit.claim()
        assert work.delivery_id == item.targets[0].delivery_id
        await kit.finish(work)


async def test_only_a_head_may_be_owned(kit: Kit) -> None:
    first = kit.item(kit.event(subject="order/1"), LANE, ordered=True, owned=True)
    second = kit.item(kit.event(subject="order/1"), LANE, ordered=True, owned=True)
    answers = await kit.accept(first, second)
    assert [answer.not_owned for answer in answers] == [frozenset(), {second.targets[0].delivery_id}]
    assert await kit.claim() == []
    await kit.reopen()
    (work,) = await kit.claim()
    assert work.delivery_id == first.targets[0].delivery_id


async def test_a_held_head_keeps_the_rest_waiting_until_it_is_cancelled(kit: Kit) -> None:
    _, second = await put_ordered(kit), await put_ordered(kit)
    (work,) = await kit.claim()
    await kit.finish(work, FAILED, hold=True)
    kit.clock.advance(10**6)
    assert await kit.claim() == []
    shown = await kit.store.cancel("default", work.delivery_id, "let go", kit.now)
    assert shown is not None
    assert ids(await kit.claim()) == [second]


async def test_a_held_head_lets_go_once_a_manual_retry_delivers_it(kit: Kit) -> None:
    first, second = await put_ordered(kit), await put_ordered(kit)
    await kit.finish(await kit.claim(), FAILED, hold=True)
    await kit.store.request_retry("default", first, kit.now)
    (work,) = await kit.claim()
    assert work.delivery_id == first
    await kit.finish(work, FAILED)
    assert await kit.claim() == []
    await kit.store.request_retry("default", first, kit.now)
    await kit.finish(await kit.claim())
    assert ids(await kit.claim()) == [second]


async def test_a_cancelled_head_lets_the_next_go_at_once(kit: Kit) -> None:
    first, second = await put_ordered(kit), await put_ordered(kit)
    await kit.store.cancel("default", first, "by_hand", kit.now)
    assert ids(await kit.claim()) == [second]


async def test_cancelling_one_in_the_middle_leaves_the_others_in_order(kit: Kit) -> None:
    first, second, third = [await put_ordered(kit) for _ in range(3)]
    await kit.store.cancel("default", second, "by_hand", kit.now)
    assert ids(await kit.claim()) == [first]
    await kit.reopen()
    await kit.finish(await kit.claim())
    assert ids(await kit.claim()) == [third]


@pytest.mark.parametrize("end", [DELIVERED, RETRYING, FAILED, "held", "released", "crash"])
async def test_a_head_cancelled_in_hand_lets_the_next_go_however_its_attempt_ends(kit: Kit, end: str) -> None:
    first, second = await put_ordered(kit), await put_ordered(kit)
    (work,) = await kit.claim()
    await kit.store.cancel("default", first, "by_hand", kit.now)
    assert await kit.claim() == []
    if end == "released":
        await kit.store.release([work], kit.now)
    elif end == "crash":
        await kit.reopen()
    elif end == "held":
        await kit.finish(work, FAILED, hold=True)
    else:
        await kit.finish(work, DeliveryStatus(end), due_s=5 if end == RETRYING else None)
    assert ids(await kit.claim()) == [second]


async def test_a_manual_retry_waits_for_what_its_subject_has_in_hand(kit: Kit) -> None:
    first, second = await put_ordered(kit), await put_ordered(kit)
    await kit.finish(await kit.claim(), FAILED)
    (head,) = await kit.claim()
    assert head.delivery_id == second
    await kit.store.request_retry("default", first, kit.now)
    claimed = await kit.store.claim([kit.want()], kit.now)
    assert (claimed.works, claimed.due) == ([], [])  # nothing of this lane can go now: nobody needs to ask again
    await kit.finish(head)
    assert ids(await kit.claim()) == [first]


async def test_a_head_waits_for_the_manual_retry_its_subject_has_in_hand(kit: Kit) -> None:
    first = await put_ordered(kit)
    await kit.finish(await kit.claim(), FAILED)
    await kit.store.request_retry("default", first, kit.now)
    (retry,) = await kit.claim()
    second = kit.item(kit.event(subject="order/1"), LANE, ordered=True, owned=True)
    (answer,) = await kit.accept(second)
    assert answer.not_owned == {second.targets[0].delivery_id}
    claimed = await kit.store.claim([kit.want()], kit.now)
    assert (claimed.works, claimed.due) == ([], [])
    await kit.finish(retry, FAILED)
    assert ids(await kit.claim()) == [second.targets[0].delivery_id]


async def test_one_claim_never_takes_two_of_a_subject(kit: Kit) -> None:
    every = [await put_ordered(kit) for _ in range(3)]
    for _ in every[:2]:
        await kit.finish(await kit.claim(), FAILED)
    for delivery in every[:2]:
        await kit.store.request_retry("default", delivery, kit.now)
    taken = []
    for _ in range(3):
        (work,) = await kit.claim()
        taken.append(work.delivery_id)
        await kit.finish(work)
    assert sorted(taken) == every


async def test_a_retry_of_one_that_waits_for_its_turn_keeps_the_order(kit: Kit) -> None:
    first, second = await put_ordered(kit), await put_ordered(kit)
    await kit.store.request_retry("default", second, kit.now)
    (work,) = await kit.claim()
    assert work.delivery_id == first
    await kit.finish(work)
    assert ids(await kit.claim()) == [second]


async def test_replays_join_the_tail(kit: Kit) -> None:
    event = kit.event(subject="order/1")
    await kit.put(event, LANE, ordered=True)
    waiting = await put_ordered(kit)
    replay = kit.target(ordered=True, reason="replay")
    await kit.store.replay("default", event.id, [replay], kit.now)
    sent = []
    while works := await kit.claim():
        sent += ids(works)
        await kit.finish(works)
    assert sent[1:] == [waiting, replay.delivery_id]


async def test_a_head_due_later_holds_the_rest_back_and_the_next_is_due_with_its_turn(kit: Kit) -> None:
    first = await put_ordered(kit, due_at=kit.now + 60_000_000)
    second = await put_ordered(kit, due_at=kit.now + 3_600_000_000)
    assert await kit.claim() == []
    kit.clock.advance(60)
    (work,) = await kit.claim()
    assert work.delivery_id == first
    await kit.finish(work)
    assert ids(await kit.claim()) == [second]


async def test_a_fanned_out_delivery_takes_its_number_when_it_is_made(kit: Kit) -> None:
    event = kit.event(subject="order/1")
    await kit.accept(AcceptItem(event=event, fanout=((LANE, True),)))
    await kit.store.step_fanouts(10, kit.now)
    later = await put_ordered(kit)
    (work,) = await kit.claim()
    assert (work.event.id, work.ordered) == (event.id, True)
    await kit.finish(work)
    assert ids(await kit.claim()) == [later]


# -- any sequence of acts ------------------------------------------------------------------------


@dataclass
class Known:
    """What the model holds of one delivery."""

    subject: str
    number: int
    status: DeliveryStatus
    event_id: str
    due_at: int
    work: Work | None = None  # in hand
    asked: bool = False  # a manual retry waits

    @property
    def unfinished(self) -> bool:
        return not self.status.finished


@dataclass
class Model:
    """One lane as it should be."""

    kit: Kit
    lane: str
    deliveries: dict[str, Known] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)  # subject -> failed head
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def in_hand(self, subject: str | None = None) -> list[Known]:
        return [one for one in self.deliveries.values() if one.work and subject in (None, one.subject)]

    def head(self, subject: str) -> Known | None:
        waiting = [one for one in self.deliveries.values() if one.subject == subject and one.unfinished]
        return min(waiting, key=lambda one: one.number, default=None)

    def pick(self, index: int) -> tuple[str, Known] | None:
        every = list(self.deliveries.items())
        return every[index % len(every)] if every else None

    async def accept(self, index: int) -> None:
        event = self.kit.event(subject=f"s{index % 3}")
        owned = index % 5 == 0
        item = self.kit.item(event, self.lane, ordered=True, owned=owned)
        (answer,) = await self.kit.accept(item)
        delivery_id = item.targets[0].delivery_id
        self._add(delivery_id, event.subject or "", event.id)
        if owned and delivery_id not in answer.not_owned:
            self._take(
                Work(delivery_id=delivery_id, tenant="default", destination=self.lane, event=event, ordered=True)
            )

    async def replay(self, index: int) -> None:
        if (chosen := self.pick(index)) is None:
            return
        target = self.kit.target(self.lane, ordered=True)
        await self.kit.store.replay("default", chosen[1].event_id, [target], self.kit.now)
        self._add(target.delivery_id, chosen[1].subject, chosen[1].event_id)

    async def claim(self, index: int) -> None:
        for work in await self.kit.claim(self.lane, 1 + index % 4):
            self._take(work)

    async def claim_all(self) -> int:
        works = await self.kit.claim(self.lane)
        for work in works:
            self._take(work)
        return len(works)

    async def finish(self, index: int) -> None:
        if not (held := self.in_hand()):
            return
        one = held[index % len(held)]
        status = (DELIVERED, RETRYING, FAILED, FAILED)[index % 4]
        await self._finish(one, status, hold=index % 4 == 3)

    async def deliver_all(self) -> None:
        for one in self.in_hand():
            await self._finish(one, DELIVERED)

    async def release(self, index: int) -> None:
        if held := self.in_hand():
            one = held[index % len(held)]
            assert one.work is not None
            await self.kit.store.release([one.work], self.kit.now)
            one.work = None

    async def cancel(self, index: int) -> None:
        if (chosen := self.pick(index)) is None:
            return
        delivery_id, one = chosen
        shown = await self.kit.store.cancel("default", delivery_id, "by_hand", self.kit.now)
        assert shown is not None
        if one.unfinished:
            one.status, one.asked = CANCELLED, False
        if self.held.get(one.subject) == delivery_id and not one.work:
            del self.held[one.subject]
        assert shown.status is one.status

    async def retry(self, index: int) -> None:
        if (chosen := self.pick(index)) is None:
            return
        delivery_id, one = chosen
        await self.kit.store.request_retry("default", delivery_id, self.kit.now)
        turn = self.head(one.subject) is one and one.subject not in self.held
        one.asked = one.asked or not one.unfinished or turn or one.work is not None

    async def advance(self, index: int) -> None:
        self.kit.clock.advance(index)

    async def reopen(self, index: int) -> None:
        if index % 4 == 0:  # a crash: dear, so seldom
            await self.kit.reopen()
            for one in self.deliveries.values():
                one.work = None

    def _add(self, delivery_id: str, subject: str, event_id: str) -> None:
        known = Known(subject, next(self.numbers), DeliveryStatus.PENDING, event_id, self.kit.now)
        self.deliveries[delivery_id] = known

    def _take(self, work: Work) -> None:
        one = self.deliveries[work.delivery_id]
        assert not self.in_hand(one.subject), "at most one in hand of a subject"
        if work.manual:
            assert one.asked, "nobody asked for this attempt"
        else:
            assert one is self.head(one.subject), "only the first unfinished one in the order of acceptance"
            assert one.subject not in self.held, "behind a held head"
            assert one.due_at <= self.kit.now, "before its time"
        one.work = work

    async def _finish(self, one: Known, status: DeliveryStatus, *, hold: bool = False) -> None:
        work, one.work = one.work, None
        assert work is not None
        due_s = 7 if status is RETRYING else None
        await self.kit.finish(work, status, due_s=due_s, hold=hold and not work.manual)
        delivered = status is DELIVERED
        if one.status is CANCELLED and not delivered:
            pass
        elif not work.manual or delivered:
            one.status = status
            one.due_at = self.kit.now + 7_000_000
        if status is FAILED and hold and not work.manual and one.status is FAILED:
            self.held[one.subject] = work.delivery_id
        elif delivered and self.held.get(one.subject) == work.delivery_id:
            del self.held[one.subject]
        one.asked = one.asked and not work.manual and not delivered


ACTS = ("accept", "accept", "claim", "claim", "finish", "finish", "replay", "release", "cancel", "retry", "advance")
acts = st.lists(st.tuples(st.sampled_from([*ACTS, "reopen"]), st.integers(0, 19)), max_size=60)
lanes = itertools.count()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=acts)
async def test_whatever_happens_order_is_kept_nothing_is_lost_and_nothing_stays_stuck(
    kit: Kit, sequence: list[tuple[str, int]]
) -> None:
    model = Model(kit, f"dst_{next(lanes)}")
    for act, index in sequence:
        await getattr(model, act)(index)
    for delivery_id in list(model.held.values()):
        await kit.store.cancel("default", delivery_id, "let go", kit.now)
    model.held.clear()
    await model.deliver_all()
    kit.clock.advance(60)
    for _ in range(2 * len(model.deliveries) + 1):
        if not await model.claim_all():
            break
        await model.deliver_all()
    shown = {one.id: one.status for one in await kit.deliveries(destination=model.lane)}
    assert shown == {delivery_id: one.status for delivery_id, one in model.deliveries.items()}
    assert all(status.finished for status in shown.values())
    assert not any(one.asked for one in model.deliveries.values())
    assert model.lane not in [lane.destination for lane in await kit.store.due_lanes()]
    assert await kit.store.waiting_count(model.lane, 1_000) == 0
