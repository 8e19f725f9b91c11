"""Deliveries that an accept left to the cursor: written in bounded steps, resumed after a restart."""

import pytest

from orderwire.errors import Conflict
from orderwire.store.base import AcceptItem
from tests.contracts.kit import Kit


def fanned(kit: Kit, count: int, **more: str) -> AcceptItem:
    lanes = tuple((f"dst_{number:04}", number % 2 == 0) for number in range(count))
    return AcceptItem(event=kit.event(subject="order/1", **more), targets=(kit.target("dst_first"),), fanout=lanes)


async def test_the_answer_counts_them_all(kit: Kit) -> None:
    (answer,) = await kit.accept(fanned(kit, 25))
    assert answer.delivery_count == 26
    assert len(await kit.deliveries()) == 1


async def test_steps_write_each_exactly_once_also_across_restarts(kit: Kit) -> None:
    item = fanned(kit, 25)
    await kit.accept(item)
    woken: list[str] = []
    while step := await kit.store.step_fanouts(4, kit.now):
        assert len(step) <= 4
        woken += step
        await kit.reopen()
    assert woken == [lane for lane, _ in item.fanout]
    shown = await kit.deliveries()
    assert sorted(one.destination for one in shown) == ["dst_0000", *woken[1:], "dst_first"]
    assert {one.event_id for one in shown} == {item.event.id}


async def test_what_a_step_wrote_can_be_claimed_at_once(kit: Kit) -> None:
    await kit.accept(fanned(kit, 2))
    kit.clock.advance(3)
    await kit.store.step_fanouts(500, kit.now)
    claimed = await kit.store.claim([kit.want("dst_0000"), kit.want("dst_0001")], kit.now)
    assert [(work.destination, work.ordered, work.due_at) for work in claimed.works] == [
        ("dst_0000", True, kit.now),
        ("dst_0001", False, kit.now),
    ]


async def test_several_are_worked_off_one_after_the_other(kit: Kit) -> None:
    await kit.accept(fanned(kit, 5), fanned(kit, 5))
    await kit.accept(fanned(kit, 5))
    count = 0
    while step := await kit.store.step_fanouts(3, kit.now):
        count += len(step)
    assert count == 15
    assert len(await kit.deliveries()) == 18


async def test_nothing_to_do_is_told_by_an_empty_step(kit: Kit) -> None:
    assert await kit.store.step_fanouts(10, kit.now) == []


async def test_a_duplicate_or_a_refusal_fans_nothing_out(kit: Kit) -> None:
    await kit.accept(fanned(kit, 3, id="k-1"))
    while await kit.store.step_fanouts(10, kit.now):
        pass
    await kit.accept(fanned(kit, 3, id="k-1"))
    with pytest.raises(Conflict):
        await kit.accept(fanned(kit, 3), AcceptItem(event=kit.event(id="k-1", data=b"other")))
    assert await kit.store.step_fanouts(10, kit.now) == []
    assert len(await kit.deliveries()) == 4
