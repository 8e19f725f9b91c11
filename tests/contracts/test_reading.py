"""The lists: everything exactly once, newest first, whatever the filters and the page's size; bounded work a page."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderwire.model import DedupeKey, Delivery, DeliveryStatus, Event
from orderwire.store.base import SCAN_ROWS_MAX, AcceptItem, DeliveryQuery, EventQuery, Page
from tests.contracts.kit import LANE, Kit

TYPES = ("order.created", "order.paid", "order.paid.late", "orders", "order", "refund.made")
SUBJECTS = (None, "order/1", "order/2")
SOURCES = (None, "src_1", "src_2")
LANES = ("dst_a", "dst_b")
STATUSES = list(DeliveryStatus)
STEP = 1_000_000
T = TypeVar("T", Event, Delivery)

examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
maybe_time = st.none() | st.integers(-1, 61)


def matches(type: str, pattern: str | None) -> bool:
    if pattern is None or pattern in ("*", type):
        return True
    return pattern.endswith(".*") and type.startswith(pattern[:-1])


def within(at: int, start: int, since: int | None, until: int | None) -> bool:
    return (since is None or at >= start + since * STEP) and (until is None or at < start + until * STEP)


def checked(pages: Sequence[Page[T]], limit: int) -> list[T]:
    """The rows of all pages, which kept their size."""
    assert all(len(page.rows) <= limit for page in pages)
    return [row for page in pages for row in page.rows]


async def event_pages(kit: Kit, query: EventQuery) -> list[Page[Event]]:
    pages = [await kit.store.list_events(query)]
    while pages[-1].next_id is not None:
        query = msgspec.structs.replace(query, before_id=pages[-1].next_id)
        pages.append(await kit.store.list_events(query))
    return pages


async def delivery_pages(kit: Kit, query: DeliveryQuery) -> list[Page[Delivery]]:
    pages = [await kit.store.list_deliveries(query)]
    while pages[-1].next_id is not None:
        query = msgspec.structs.replace(query, before_id=pages[-1].next_id)
        pages.append(await kit.store.list_deliveries(query))
    return pages


@pytest.fixture
async def shop(kit: Kit) -> Kit:
    """Sixty events a second apart, of every kind, with deliveries in every state at up to two lanes; and a stranger."""
    for number in range(60):
        event = kit.event(
            TYPES[number % 6],
            id=f"mine-{number}" if number % 4 == 0 else None,
            subject=SUBJECTS[number % 3],
            source_id=SOURCES[number // 2 % 3],
        )
        stranger = kit.event(TYPES[0], tenant="stranger", subject="order/1")
        lanes = LANES[: number // 6 % 3]
        await kit.accept(kit.item(event, *lanes), kit.item(stranger, "dst_stranger"))
        for lane in lanes:
            await put_in(kit, lane, STATUSES[number % 5])
        kit.clock.advance(1)
    return kit


async def put_in(kit: Kit, lane: str, status: DeliveryStatus) -> None:
    """The newest delivery of a lane goes into `status`."""
    *others, work = await kit.claim(lane)
    await kit.store.release(others, kit.now)
    if status is DeliveryStatus.CANCELLED:
        await kit.store.cancel("default", work.delivery_id, "x", kit.now)
    if status in (DeliveryStatus.CANCELLED, DeliveryStatus.PENDING):
        await kit.store.release([work], kit.now)
    else:
        await kit.finish(work, status, due_s=10**6 if status is DeliveryStatus.RETRYING else None)


@examples
@given(
    limit=st.integers(1, 70),
    type=st.none() | st.sampled_from([*TYPES, "*", "order.*", "order.paid.*", "none.*"]),
    subject=st.none() | st.sampled_from(["order/1", "order/2", "order/3"]),
    source=st.none() | st.sampled_from(["src_1", "src_2", "src_3"]),
    status=st.none() | st.sampled_from(STATUSES),
    since=maybe_time,
    until=maybe_time,
)
async def test_the_pages_of_events_hold_everything_that_matches_once_newest_first(
    shop: Kit,
    limit: int,
    type: str | None,
    subject: str | None,
    source: str | None,
    status: DeliveryStatus | None,
    since: int | None,
    until: int | None,
) -> None:
    start = shop.now - 60 * STEP
    query = EventQuery(
        tenant="default",
        limit=limit,
        type=type,
        subject=subject,
        source=source,
        status=status,
        since=None if since is None else start + since * STEP,
        until=None if until is None else start + until * STEP,
    )
    found = checked(await event_pages(shop, query), limit)
    with_status = {one.event_id for one in await shop.deliveries(status=status)}
    expected = [
        event
        for event in await shop.events()
        if matches(event.type, type)
        and subject in (None, event.subject)
        and source in (None, event.source_id)
        and (status is None or event.id in with_status)
        and within(event.received_at, start, since, until)
    ]
    assert found == expected


@examples
@given(
    limit=st.integers(1, 70),
    lane=st.none() | st.sampled_from([*LANES, "dst_stranger", "dst_none"]),
    event=st.none() | st.integers(0, 59),
    status=st.none() | st.sampled_from(STATUSES),
    type=st.none() | st.sampled_from([*TYPES, "*", "order.*"]),
    since=maybe_time,
    until=maybe_time,
)
async def test_the_pages_of_deliveries_hold_everything_that_matches_once_newest_first(
    shop: Kit,
    limit: int,
    lane: str | None,
    event: int | None,
    status: DeliveryStatus | None,
    type: str | None,
    since: int | None,
    until: int | None,
) -> None:
    start = shop.now - 60 * STEP
    public_id = None if event is None else (await shop.events())[event].public_id
    query = DeliveryQuery(
        tenant="default",
        limit=limit,
        destination=lane,
        event=public_id,
        status=status,
        type=type,
        since=None if since is None else start + since * STEP,
        until=None if until is None else start + until * STEP,
    )
    found = checked(await delivery_pages(shop, query), limit)
    expected = [
        one
        for one in await shop.deliveries()
        if lane in (None, one.destination)
        and public_id in (None, one.event)
        and status in (None, one.status)
        and matches(one.type, type)
        and within(one.created_at, start, since, until)
    ]
    assert found == expected


async def test_the_plain_lists_show_all_and_newest_first(shop: Kit) -> None:
    events, deliveries = await shop.events(), await shop.deliveries()
    assert (len(events), len(deliveries)) == (60, 54)
    assert [event.id for event in events] == sorted((event.id for event in events), reverse=True)
    assert [one.id for one in deliveries] == sorted((one.id for one in deliveries), reverse=True)
    assert {one.status for one in deliveries} == set(DeliveryStatus)


async def test_a_delivery_in_a_list_is_the_delivery(shop: Kit) -> None:
    for shown in (await shop.deliveries())[:20]:
        assert await shop.store.get_delivery("default", shown.id) == shown
        event = await shop.store.get_event("default", shown.event)
        assert event is not None
        assert (event.id, event.type, event.subject) == (shown.event_id, shown.type, shown.subject)


async def test_what_comes_in_while_one_pages_disturbs_nothing(kit: Kit) -> None:
    await kit.put_many(20)
    before = [event.id for event in await kit.events()]
    page = await kit.store.list_events(EventQuery(tenant="default", limit=7))
    await kit.put_many(5)
    rest = await kit.events(before_id=page.next_id)
    assert [event.id for event in (*page.rows, *rest)] == before


async def test_an_empty_list_is_one_empty_page(kit: Kit) -> None:
    for filters in ({}, {"type": "order.*"}, {"subject": "x"}, {"text": "x"}, {"status": DeliveryStatus.FAILED}):
        assert await kit.store.list_events(EventQuery(tenant="default", **filters)) == Page(rows=(), next_id=None)
    for filters in ({}, {"event": "x"}, {"destination": "x"}, {"type": "x"}, {"status": DeliveryStatus.FAILED}):
        query = DeliveryQuery(tenant="default", **filters)
        assert await kit.store.list_deliveries(query) == Page(rows=(), next_id=None)


# -- bounded work --------------------------------------------------------------------------------


async def test_a_page_reads_a_bounded_number_of_rows_and_says_where_to_go_on(kit: Kit) -> None:
    """A rare type at the far end of a long log, and a rare state at the far end of a long lane."""
    rare = [kit.event("rare.one"), kit.event("rare.two")]
    for event in rare:
        await kit.put(event)
    await kit.fail_all()
    more = SCAN_ROWS_MAX + 100
    for start in range(0, more, 1_000):
        count = min(1_000, more - start)
        await kit.accept(*[kit.item(kit.event(), LANE, owned=True) for _ in range(count)])
    for filters in ({"type": "rare.*"}, {"status": DeliveryStatus.FAILED}, {"source": "src_none"}):
        pages = await event_pages(kit, EventQuery(tenant="default", **filters))
        assert [len(page.rows) for page in pages] == [0, 0 if "source" in filters else 2]
        assert pages[0].next_id is not None
    for filters, found in (
        ({"type": "rare.*"}, 2),
        ({"type": "rare.*", "destination": LANE}, 2),
        ({"status": DeliveryStatus.FAILED, "destination": LANE}, 2),
        ({"status": DeliveryStatus.CANCELLED}, 0),
    ):
        shown = await delivery_pages(kit, DeliveryQuery(tenant="default", **filters))
        assert [len(page.rows) for page in shown] == [0, found], filters
    failed = await delivery_pages(kit, DeliveryQuery(tenant="default", status=DeliveryStatus.FAILED))
    assert [len(page.rows) for page in failed] == [2]  # "what went wrong last night?" has an index


# -- text ----------------------------------------------------------------------------------------


async def test_text_finds_an_event_by_what_it_is_called(kit: Kit) -> None:
    by_provider = DedupeKey(scope="source:src_1:webhook_id", key="b54557e4-bdd9", expires_at=kit.now + 10**12)
    mine, plain = kit.event(id="mine-1"), kit.event(subject="order/1001")
    provided = kit.event(keys=(by_provider,), source_id="src_1", content_hash=b"x")
    sub = [kit.event(subject="order/1001") for _ in range(4)]
    for event in (mine, plain, provided, *sub):
        await kit.put(event)
    await kit.put(kit.event(tenant="other", id="mine-1", subject="order/1001"))
    for text, expected in (
        ("mine-1", [mine]),
        (plain.id, [plain]),
        (mine.id, []),
        ("b54557e4-bdd9", [provided]),
        ("order/1001", [*sub[::-1], plain]),
        ("order/100", []),
        ("nothing", []),
    ):
        found = [event.id for event in await kit.events(text=text, limit=2)]
        assert found == [event.id for event in expected], text


async def test_text_that_names_an_event_and_a_subject_finds_both(kit: Kit) -> None:
    events = [kit.event(subject="1001"), kit.event(id="1001"), kit.event(subject="1001"), kit.event(data=b'"1001"')]
    for event in events:
        await kit.put(event)
    for limit in (1, 2, 5):
        found = [event.id for event in await kit.events(text="1001", limit=limit)]
        assert found == [event.id for event in events[2::-1]]


async def test_text_is_looked_for_in_payloads_and_origins_where_no_name_matches(kit: Kit) -> None:
    first = kit.event(data=b'{"note": "a needle, \xc3\xa9t\xc3\xa9"}')
    other = kit.event(data=b'{"note": "hay"}', origin='{"topic": "needle/found"}')
    for event in (first, other, kit.event(data=b'{"note": "Needle"}')):
        await kit.put(event)
    for text, expected in (
        ("needle", [other, first]),
        ("\u00e9t\u00e9", [first]),
        ("%", []),
        ("e_dle", []),
        ('"', None),
    ):
        found = [event.id for event in await kit.events(text=text, limit=1)]
        if expected is None:
            assert len(found) == 3
        else:
            assert found == [event.id for event in expected], text


async def test_text_goes_with_the_other_filters(kit: Kit) -> None:
    early = kit.event("order.created", subject="order/1")
    await kit.put(early)
    kit.clock.advance(1)
    late = kit.event("order.paid", subject="order/1")
    await kit.put(late)
    for filters, expected in (
        ({"type": "order.paid"}, [late]),
        ({"until": kit.now}, [early]),
        ({"since": kit.now}, [late]),
        ({"status": DeliveryStatus.FAILED}, []),
    ):
        for text in ("order/1", "total"):
            found = [event.id for event in await kit.events(text=text, **filters)]
            assert found == [event.id for event in expected], (filters, text)


async def test_a_search_in_payloads_ends_and_finds_every_match_once(kit: Kit) -> None:
    """Large payloads: a page looks for a while, then says where to go on."""
    wanted = []
    for number in range(400):
        event = kit.event(data=b'{"pad": "%s", "n": "n%d."}' % (b"y" * 200_000, number % 100))
        await kit.accept(AcceptItem(event=event))
        if number % 100 == 7:
            wanted.append(event.id)
    found = [event.id for event in await kit.events(text="n7.", limit=3)]
    assert found == wanted[::-1]


async def test_a_page_of_large_payloads_is_short_and_says_where_to_go_on(kit: Kit) -> None:
    payload = b'"' + b"x" * 1_000_000 + b'"'
    for _ in range(12):
        await kit.accept(kit.item(kit.event(data=payload)))
        kit.clock.advance(1)
    first = await kit.store.list_events(EventQuery(tenant="default", limit=50))
    assert 0 < len(first.rows) < 12
    assert first.next_id == first.rows[-1].id
    rest = await kit.store.list_events(EventQuery(tenant="default", limit=50, before_id=first.next_id))
    assert len(first.rows) + len(rest.rows) == 12
    assert rest.next_id is None
