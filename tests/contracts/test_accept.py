"""Store.accept: what is kept, what is a duplicate, what is refused, and that nobody suffers for a neighbour."""

import asyncio

import msgspec
import pytest

from orderwire.errors import Conflict
from orderwire.ids import new_id
from orderwire.model import DedupeKey, Event, RawBody, Trust
from orderwire.store.base import Accepted, AcceptItem
from tests.contracts.kit import LANE, Kit, ids


def without_keys(event: Event) -> Event:
    """As it reads back: keys, their hash and the raw body are not part of the event."""
    return msgspec.structs.replace(event, keys=(), content_hash=b"", raw=None)


async def test_an_accepted_event_reads_back_as_it_was(kit: Kit) -> None:
    event = kit.event(
        "order.paid",
        id="mine-1",
        subject="order/1001",
        time_at=kit.now - 5,
        source_id="src_1",
        trust=Trust.VERIFIED,
        origin='{"provider": "shopify"}',
    )
    (answer,) = await kit.accept(kit.item(event, LANE))
    assert answer == Accepted(
        event_id=event.id,
        public_id="mine-1",
        time_at=event.time_at,
        received_at=event.received_at,
        duplicate=False,
        delivery_count=1,
    )
    assert await kit.store.get_event(event.tenant, "mine-1") == without_keys(event)


@pytest.mark.parametrize(
    "data",
    [
        b'{"z": 10.10, "a": 1.0, "m": {"b": 1e2}}',
        b'{"big":1152921504606846976,"more":123456789012345678901234567890}',
        b' [ 1 , "\\u00e9", "\xc3\xa9" ]\n',
        b'"' + b"y" * (256 * 1024 - 2) + b'"',
        b"null",
    ],
    ids=["key order and digits", "big integers", "spaces and escapes", "256 KiB", "null"],
)
async def test_data_is_kept_byte_for_byte(kit: Kit, data: bytes) -> None:
    event = kit.event(data=data)
    await kit.accept(kit.item(event, LANE))
    read = await kit.store.get_event(event.tenant, event.id)
    assert read is not None
    assert read.data == data
    (work,) = await kit.claim()
    assert work.event.data == data


async def test_a_raw_body_is_kept_byte_for_byte(kit: Kit) -> None:
    raw = RawBody(content_type="application/json", headers='{"x-topic": "orders/create"}', body=bytes(range(256)) * 99)
    event = kit.event(raw=raw)
    published = kit.event()
    await kit.accept(AcceptItem(event=event), AcceptItem(event=published))
    assert await kit.store.get_raw(event.tenant, event.id) == raw
    assert await kit.store.get_raw(event.tenant, published.id) is None


async def test_answers_come_in_the_order_of_the_items(kit: Kit) -> None:
    known = kit.event(id="known")
    await kit.accept(kit.item(known))
    events = [kit.event(), msgspec.structs.replace(known, id=new_id("evt", kit.now)), kit.event(id="b"), kit.event()]
    answers = await kit.accept(*[kit.item(event) for event in events])
    assert [answer.event_id for answer in answers] == [events[0].id, known.id, events[2].id, events[3].id]
    assert [answer.duplicate for answer in answers] == [False, True, False, False]


async def test_nothing_is_a_lawful_batch(kit: Kit) -> None:
    assert await kit.accept() == []


async def test_an_event_nobody_wants_is_kept(kit: Kit) -> None:
    event = kit.event()
    (answer,) = await kit.accept(AcceptItem(event=event))
    assert answer.delivery_count == 0
    assert await kit.store.get_event(event.tenant, event.id) is not None


async def test_unowned_deliveries_can_be_claimed_at_once_and_owned_ones_cannot(kit: Kit) -> None:
    unowned = await kit.put(None, LANE)
    await kit.put(None, LANE, owned=True)
    assert ids(await kit.claim()) == [unowned]


# -- duplicates and conflicts --------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "idem"])
async def test_the_same_content_again_is_a_duplicate_and_writes_nothing(kit: Kit, by: str) -> None:
    first = kit.event(**{by: "k-1"})
    (answer,) = await kit.accept(kit.item(first, LANE, "dst_b"))
    kit.clock.advance(60)
    (again,) = await kit.accept(kit.item(kit.event(**{by: "k-1"}), LANE, "dst_b"))
    assert again == msgspec.structs.replace(answer, duplicate=True)
    assert [event.id for event in await kit.events()] == [first.id]
    assert len(await kit.deliveries()) == 2


@pytest.mark.parametrize("by", ["id", "idem"])
async def test_other_content_under_a_known_key_is_a_conflict_that_names_the_event(kit: Kit, by: str) -> None:
    first = kit.event(**{by: "k-1"})
    await kit.accept(kit.item(first, LANE))
    with pytest.raises(Conflict) as refused:
        await kit.accept(kit.item(kit.event(), LANE), kit.item(kit.event(**{by: "k-1"}, data=b"{}"), LANE))
    assert refused.value.errors[0].path.startswith("events[1]")
    assert [event.id for event in await kit.events()] == [first.id]


async def test_an_idempotency_key_answers_with_the_id_of_the_first(kit: Kit) -> None:
    first = kit.event(idem="k-1")
    await kit.accept(kit.item(first))
    (again,) = await kit.accept(kit.item(kit.event(idem="k-1")))
    assert (again.public_id, again.duplicate) == (first.id, True)


async def test_a_batch_that_repeats_itself_makes_one_event(kit: Kit) -> None:
    answers = await kit.accept(*[kit.item(kit.event(id="k-1"), LANE) for _ in range(3)])
    assert [answer.duplicate for answer in answers] == [False, True, True]
    assert len({answer.event_id for answer in answers}) == 1
    assert len(await kit.deliveries()) == 1


async def test_a_batch_that_contradicts_itself_is_refused_by_name(kit: Kit) -> None:
    with pytest.raises(Conflict) as refused:
        await kit.accept(*[kit.item(kit.event(id="k-1", data=data), LANE) for data in (b"1", b"1", b"2")])
    assert refused.value.errors[0].path.startswith("events[2]")
    assert await kit.events() == []
    assert await kit.store.get_event("default", "k-1") is None


async def test_a_refused_batch_leaves_no_trace(kit: Kit) -> None:
    await kit.accept(kit.item(kit.event(id="taken")))
    raw = RawBody(content_type="text/plain", headers="{}", body=b"x")
    fresh = kit.event(id="fresh", subject="order/1", raw=raw)
    with pytest.raises(Conflict):
        await kit.accept(kit.item(fresh, LANE, ordered=True), kit.item(kit.event(id="taken", data=b"other")))
    assert await kit.store.get_event("default", "fresh") is None
    assert await kit.store.get_raw("default", fresh.id) is None
    assert await kit.deliveries() == []
    assert await kit.store.due_lanes() == []
    (answer,) = await kit.accept(kit.item(kit.event(id="fresh", subject="order/1"), LANE, ordered=True, owned=True))
    assert (answer.duplicate, answer.not_owned) == (False, frozenset())


async def test_a_key_that_is_not_exact_makes_any_repeat_a_duplicate(kit: Kit) -> None:
    keys = (DedupeKey(scope="source:src_1:webhook_id", key="w-1", expires_at=kit.now + 10**12),)
    first = kit.event(keys=keys, data=b"1", content_hash=b"one")
    await kit.accept(kit.item(first, LANE))
    (again,) = await kit.accept(kit.item(kit.event(keys=keys, data=b"2", content_hash=b"two"), LANE))
    assert (again.duplicate, again.event_id) == (True, first.id)


async def test_any_known_key_of_several_makes_a_duplicate(kit: Kit) -> None:
    first = kit.event(id="k-1", idem="i-1")
    await kit.accept(kit.item(first))
    for event in (kit.event(id="k-1", idem="i-2"), kit.event(id="k-2", idem="i-1"), kit.event(id="k-1")):
        (again,) = await kit.accept(kit.item(event))
        assert (again.duplicate, again.event_id) == (True, first.id)


async def test_the_same_key_in_another_scope_is_another_key(kit: Kit) -> None:
    answers = await kit.accept(kit.item(kit.event(id="k-1")), kit.item(kit.event(idem="k-1", data=b"2")))
    assert [answer.duplicate for answer in answers] == [False, False]


async def test_the_keys_of_tenants_are_their_own(kit: Kit) -> None:
    first, second = kit.event(id="k-1"), kit.event(id="k-1", tenant="other", data=b"2")
    answers = await kit.accept(kit.item(first)) + await kit.accept(kit.item(second))
    assert [answer.duplicate for answer in answers] == [False, False]
    for event in (first, second):
        found = await kit.store.get_event(event.tenant, "k-1")
        assert found is not None
        assert found.id == event.id


async def test_a_duplicate_counts_the_deliveries_still_to_be_fanned_out(kit: Kit) -> None:
    event = kit.event(id="k-1")
    item = AcceptItem(event=event, targets=(kit.target(),), fanout=tuple((f"dst_{n}", False) for n in range(10)))
    (first,) = await kit.accept(item)
    (again,) = await kit.accept(kit.item(kit.event(id="k-1")))
    await kit.store.step_fanouts(3, kit.now)
    (later,) = await kit.accept(kit.item(kit.event(id="k-1")))
    assert (first.delivery_count, again.delivery_count, later.delivery_count) == (11, 11, 11)


# -- ids -----------------------------------------------------------------------------------------


async def test_a_supplied_id_may_have_the_shape_of_ours(kit: Kit) -> None:
    supplied = new_id("evt", kit.now - 1)
    event = kit.event(id=supplied)
    (answer,) = await kit.accept(kit.item(event))
    assert answer.public_id == supplied
    found = await kit.store.get_event("default", supplied)
    assert found is not None
    assert (found.id, found.public_id) == (event.id, supplied)


async def test_a_supplied_id_that_is_another_events_own_is_a_conflict(kit: Kit) -> None:
    first = kit.event()
    await kit.accept(kit.item(first))
    with pytest.raises(Conflict):
        await kit.accept(kit.item(kit.event(id=first.id, data=b"other")))
    (elsewhere,) = await kit.accept(kit.item(kit.event(id=first.id, tenant="other")))
    assert not elsewhere.duplicate


async def test_an_event_with_a_supplied_id_goes_by_that_id_only(kit: Kit) -> None:
    event = kit.event(id="mine")
    await kit.accept(kit.item(event))
    assert await kit.store.get_event("default", event.id) is None


# -- together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "idem"])
async def test_fifty_at_once_with_one_key_make_one_event(kit: Kit, by: str) -> None:
    items = [kit.item(kit.event(**{by: "k-1"}), LANE) for _ in range(50)]
    answers = await asyncio.gather(*[kit.accept(item) for item in items])
    assert sorted(answer.duplicate for (answer,) in answers) == [False] + [True] * 49
    assert len({answer.event_id for (answer,) in answers}) == 1
    assert len(await kit.events()) == len(await kit.deliveries()) == 1


async def test_fifty_at_once_with_one_id_and_two_contents_keep_the_one_they_say(kit: Kit) -> None:
    items = [kit.item(kit.event(id="k-1", data=b"%d" % (number % 2)), LANE) for number in range(50)]
    answers = await asyncio.gather(*[kit.accept(item) for item in items], return_exceptions=True)
    (event,) = await kit.events()
    for item, answer in zip(items, answers, strict=True):
        if item.event.data == event.data:
            assert isinstance(answer, list)
            assert answer[0].event_id == event.id
        else:
            assert isinstance(answer, Conflict)


async def test_a_refused_call_does_not_harm_those_that_share_its_commit(kit: Kit) -> None:
    await kit.accept(kit.item(kit.event(id="taken")))
    items = [kit.item(kit.event(), LANE) for _ in range(20)]
    items[7] = kit.item(kit.event(id="taken", data=b"other"), LANE)
    answers = await asyncio.gather(*[kit.accept(item) for item in items], return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, Conflict)] == [7]
    assert len(await kit.deliveries()) == 19


@pytest.mark.parametrize("fault", ["a delivery id that exists", "text that is no text"])
async def test_an_event_that_cannot_be_stored_fails_alone(kit: Kit, fault: str) -> None:
    existing = await kit.put()
    items = [kit.item(kit.event(id=f"k-{number}"), LANE) for number in range(20)]
    if fault == "a delivery id that exists":
        broken = msgspec.structs.replace(items[7].targets[0], delivery_id=existing)
        items[7] = msgspec.structs.replace(items[7], targets=(broken,))
    else:
        items[7] = kit.item(kit.event(id="k-7", subject="\ud800"), LANE)
    answers = await asyncio.gather(*[kit.accept(item) for item in items], return_exceptions=True)
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, Exception)]
    assert failed == [7]
    assert len(await kit.events()) == 20
    assert await kit.store.get_event("default", "k-7") is None
    assert len(await kit.claim()) == 20


async def test_a_batch_with_an_event_that_cannot_be_stored_stores_none_of_it(kit: Kit) -> None:
    existing = await kit.put()
    good, bad = kit.item(kit.event(id="good"), LANE), kit.item(kit.event(), LANE)
    bad = msgspec.structs.replace(bad, targets=(msgspec.structs.replace(bad.targets[0], delivery_id=existing),))
    (answer,) = await asyncio.gather(kit.accept(good, bad), return_exceptions=True)
    assert isinstance(answer, Exception)
    assert await kit.store.get_event("default", "good") is None
    ((after,),) = await asyncio.gather(kit.accept(kit.item(kit.event(id="good"), LANE)))
    assert not after.duplicate


async def test_a_caller_that_goes_away_leaves_no_delivery_behind_that_nobody_sends(kit: Kit) -> None:
    """Its event may be kept; then its delivery is claimable, for the one who would have sent it is gone."""
    calls = [asyncio.create_task(kit.accept(kit.item(kit.event(), LANE, owned=True))) for _ in range(5)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await kit.accept(kit.item(kit.event()))  # a later commit: whatever the store does about it has been done
    await kit.accept(kit.item(kit.event()))
    kept = [delivery.id for delivery in await kit.deliveries()]
    assert sorted(ids(await kit.claim())) == sorted(kept)
