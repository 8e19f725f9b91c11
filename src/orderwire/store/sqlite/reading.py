"""The lists and the single rows, on reading connections that never wait for the writer.

A list reads newest first and at most SCAN_ROWS_MAX rows whatever its filters: where the bound ends a page early,
the page says where to go on. So a rare type in ten million rows costs a client pages, not the node a minute.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orderwire.ids import id_floor
from orderwire.model import Attempt, Delivery, DeliveryStatus, Event, LaneHealth, RawBody
from orderwire.store.base import (
    SCAN_ROWS_MAX,
    AuditEntry,
    ConfigRow,
    DeliveryQuery,
    EventQuery,
    Page,
    StatRow,
)
from orderwire.store.sqlite.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    attempt_of,
    delivery_of,
    event_of,
    key_hash,
    type_condition,
)

T = TypeVar("T", Event, Delivery)

PAGE_BYTES_MAX = 8 * 1024 * 1024  # of payload in one page: then it is short and says where to go on
PAYLOAD_SEARCH_S = 0.2
PAYLOADS_FIRST_STEP = 50
IS_SUBJECT = "SELECT 1 FROM events INDEXED BY events_subject WHERE tenant = ? AND subject = ? LIMIT 1"
FIND_BY_KEY = "SELECT event_id FROM keys WHERE tenant = ? AND scope = ? AND key_hash = ?"
# The scopes of a tenant, each found by one step into the primary key.
SCOPES = (
    "WITH RECURSIVE scopes (scope) AS ("
    "  SELECT min(scope) FROM keys WHERE tenant = :tenant UNION ALL"
    "  SELECT (SELECT min(k.scope) FROM keys k WHERE k.tenant = :tenant AND k.scope > scopes.scope)"
    "  FROM scopes WHERE scopes.scope IS NOT NULL)"
    " SELECT scope FROM scopes WHERE scope IS NOT NULL"
)


@dataclass(frozen=True)
class Listing(Generic[T]):
    """How a list reads: along which index, its column that orders, and what is joined and made of each row."""

    index: str
    id: str
    columns: str
    join: str
    make: Callable[[Sequence[Any]], T]


def _events(index: str) -> Listing[Event]:
    return Listing(f"events e INDEXED BY {index}", "e.id", EVENT_COLUMNS, "", event_of)


def _deliveries(index: str) -> Listing[Delivery]:
    join = " CROSS JOIN events e INDEXED BY events_tenant ON e.tenant = d.tenant AND e.id = d.event_id"
    return Listing(f"deliveries d {index}", "d.id", DELIVERY_COLUMNS, join, delivery_of)


EVENTS = _events("events_tenant")
EVENTS_OF_SUBJECT = _events("events_subject")
DELIVERIES = _deliveries("NOT INDEXED")  # by primary key
DELIVERIES_OF_EVENT = _deliveries("INDEXED BY deliveries_event")
DELIVERIES_OF_LANE = _deliveries("INDEXED BY deliveries_destination")
DELIVERIES_FAILED = _deliveries("INDEXED BY deliveries_failed")


class Where:
    """Conditions and their parameters, gathered."""

    def __init__(self, more: "Where | None" = None) -> None:
        """Nothing yet, or the same as `more`."""
        self.parts: list[str] = list(more.parts) if more else []
        self.values: list[Any] = list(more.values) if more else []

    def add(self, condition: str, *values: object) -> None:
        """One more condition that must hold."""
        self.parts.append(condition)
        self.values.extend(values)

    def __str__(self) -> str:
        """As SQL."""
        return " AND ".join(self.parts) or "1"


def resolve_event(connection: sqlite3.Connection, tenant: str, public_id: str) -> Event | None:
    """The event that users call `public_id`: our id, or the publisher's."""
    statement = f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant = ? AND e.id = ?"  # noqa: S608 - constants
    row = connection.execute(statement, (tenant, public_id)).fetchone()
    if row is None or row[6] is not None:
        by_key = connection.execute(FIND_BY_KEY, (tenant, "id", key_hash(public_id))).fetchone()
        row = connection.execute(statement, (tenant, by_key[0])).fetchone() if by_key else None
    return event_of(row) if row else None


def get_raw(connection: sqlite3.Connection, tenant: str, event_id: str) -> RawBody | None:
    """The original bytes of a source's event."""
    row = connection.execute(
        "SELECT content_type, headers, body FROM raws WHERE event_id = ? AND tenant = ?", (event_id, tenant)
    ).fetchone()
    return RawBody(content_type=row[0], headers=row[1], body=row[2]) if row else None


def list_events(connection: sqlite3.Connection, query: EventQuery) -> Page[Event]:
    """One page of events."""
    scan, keep = Where(), Where()
    scan.add("e.tenant = ?", query.tenant)
    _range(scan, "e.id", "evt", query)
    if query.type is not None:
        condition, values = type_condition(query.type)
        keep.add(condition, *values)
    if query.source is not None:
        keep.add("e.source_id = ?", query.source)
    if query.status is not None:
        keep.add(
            "EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_event WHERE d.event_id = e.id AND d.status = ?)",
            query.status.value,
        )
    if query.text is not None:
        return _search(connection, query, query.text, scan, keep)
    listing = EVENTS
    if query.subject is not None:
        listing = EVENTS_OF_SUBJECT
        scan.add("e.subject = ?", query.subject)
    return _page(connection, listing, scan, keep, query.limit)


def get_delivery(connection: sqlite3.Connection, tenant: str, delivery_id: str) -> Delivery | None:
    """One delivery."""
    row = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM {DELIVERIES.index}{DELIVERIES.join} WHERE d.tenant = ? AND d.id = ?",  # noqa: S608
        (tenant, delivery_id),
    ).fetchone()
    return delivery_of(row) if row else None


def list_deliveries(connection: sqlite3.Connection, query: DeliveryQuery) -> Page[Delivery]:
    """One page of deliveries. The narrowest index finds them, the other filters keep of those."""
    scan, keep = Where(), Where()
    listing = DELIVERIES
    scan.add("d.tenant = ?", query.tenant)
    _range(scan, "d.id", "dlv", query)
    if query.event is not None:
        event = resolve_event(connection, query.tenant, query.event)
        listing = DELIVERIES_OF_EVENT
        scan.add("d.event_id = ?", event.id if event else "")
    if query.destination is not None:
        narrowest = listing is DELIVERIES
        listing = DELIVERIES_OF_LANE if narrowest else listing
        (scan if narrowest else keep).add("d.destination = ?", query.destination)
    if query.status is not None:
        narrowest = listing is DELIVERIES and query.status is DeliveryStatus.FAILED
        listing = DELIVERIES_FAILED if narrowest else listing
        (scan if narrowest else keep).add(f"d.status = '{query.status.value}'")
    if query.type is not None:
        condition, values = type_condition(query.type)
        keep.add(condition, *values)
    return _page(connection, listing, scan, keep, query.limit)


def list_attempts(
    connection: sqlite3.Connection, tenant: str, delivery_id: str, limit: int, before_number: int | None
) -> list[Attempt]:
    """A delivery's attempts, newest first."""
    rows = connection.execute(
        "SELECT a.* FROM deliveries d JOIN attempts a ON a.delivery_id = d.id WHERE d.tenant = ? AND d.id = ?"
        " AND a.number < ? ORDER BY a.number DESC LIMIT ?",
        (tenant, delivery_id, before_number if before_number is not None else 1 << 60, limit),
    )
    return [attempt_of(row) for row in rows]


def lane_stats(connection: sqlite3.Connection, destination: str, since: int, until: int) -> list[StatRow]:
    """The minutes of a destination."""
    rows = connection.execute(
        "SELECT minute_at, outcome, bucket, count FROM lane_stats"
        " WHERE destination = ? AND minute_at >= ? AND minute_at < ? ORDER BY minute_at",
        (destination, since - since % 60_000_000, until),
    )
    return [StatRow(minute_at=row[0], outcome=row[1], bucket=row[2], count=row[3]) for row in rows]


def load_config(connection: sqlite3.Connection) -> list[ConfigRow]:
    """All configuration."""
    rows = connection.execute("SELECT kind, tenant, id, body, version FROM config ORDER BY kind, tenant, id")
    return [ConfigRow(kind=r[0], tenant=r[1], id=r[2], body=r[3], version=r[4]) for r in rows]


def list_audit(connection: sqlite3.Connection, tenant: str, limit: int, before_id: str | None) -> list[AuditEntry]:
    """Newest first."""
    rows = connection.execute(
        "SELECT id, tenant, at, actor, action, resource, detail FROM audit WHERE tenant = ? AND id < ?"
        " ORDER BY id DESC LIMIT ?",
        (tenant, before_id or "~", limit),
    )
    return [
        AuditEntry(id=r[0], tenant=r[1], at=r[2], actor=r[3], action=r[4], resource=r[5], detail=r[6]) for r in rows
    ]


def load_lane_health(connection: sqlite3.Connection) -> list[LaneHealth]:
    """What lanes remember."""
    return [
        LaneHealth(
            destination=row[0],
            failing_since=row[1],
            consecutive_failures=row[2],
            breaker_open=bool(row[3]),
            hold_until=row[4],
        )
        for row in connection.execute("SELECT * FROM lane_health")
    ]


def _page(connection: sqlite3.Connection, listing: Listing[T], scan: Where, keep: Where, limit: int) -> Page[T]:
    """Rows that `scan` finds by index, newest first, of which `keep` keeps some: a page and where to go on."""
    edge = _edge(connection, listing, scan, SCAN_ROWS_MAX) if keep.parts else None
    rows, cut = _rows(connection, listing, scan, keep, edge, limit + 1)
    if len(rows) > limit:
        return Page(rows=tuple(rows[:limit]), next_id=rows[limit - 1].id)
    return Page(rows=tuple(rows), next_id=rows[-1].id if cut else edge)


def _edge(connection: sqlite3.Connection, listing: Listing[T], scan: Where, rows: int) -> str | None:
    """The last of the next `rows` rows; None where there are fewer."""
    statement = f"SELECT {listing.id} FROM {listing.index} WHERE {scan} ORDER BY {listing.id} DESC LIMIT 1 OFFSET ?"  # noqa: S608
    found = connection.execute(statement, (*scan.values, rows - 1)).fetchone()
    return found[0] if found else None


def _rows(
    connection: sqlite3.Connection, listing: Listing[T], scan: Where, keep: Where, edge: str | None, limit: int
) -> tuple[list[T], bool]:
    """Newest first, down to `edge`; whether PAGE_BYTES_MAX of payload ended them earlier."""
    bounded: Where = Where(scan)
    if edge is not None:
        bounded.add(f"{listing.id} >= ?", edge)
    statement = (
        f"SELECT {listing.columns} FROM {listing.index}{listing.join} WHERE {bounded} AND {keep}"  # noqa: S608
        f" ORDER BY {listing.id} DESC LIMIT ?"
    )
    rows: list[T] = []
    size = 0
    for found in connection.execute(statement, (*bounded.values, *keep.values, limit)):
        rows.append(row := listing.make(found))
        size += len(getattr(row, "data", b""))  # a delivery has none
        if size > PAGE_BYTES_MAX:
            return rows, True
    return rows, False


# -- text ----------------------------------------------------------------------------------------


def _search(connection: sqlite3.Connection, query: EventQuery, text: str, scan: Where, keep: Where) -> Page[Event]:
    """Events that `text` names, by index; where it names none, those whose payload or origin holds it."""
    if query.subject is not None:
        keep.add("e.subject = ?", query.subject)
    named = _named(connection, query.tenant, text)
    is_subject = connection.execute(IS_SUBJECT, (query.tenant, text)).fetchone() is not None
    if not named and not is_subject:
        keep.add("(instr(e.data, CAST(? AS BLOB)) OR instr(e.origin, ?))", text, text)
        return _search_payloads(connection, scan, keep, query.limit)
    of_subject = Where(scan)
    of_subject.add("e.subject = ?", text)
    page = _page(connection, EVENTS_OF_SUBJECT, of_subject, keep, query.limit)
    scan.add(f"e.id IN ({','.join('?' * len(named))})", *named)
    also = _rows(connection, EVENTS, scan, keep, page.next_id, len(named))[0] if named else []
    rows = sorted({event.id: event for event in (*page.rows, *also)}.values(), key=lambda e: e.id, reverse=True)
    more = len(rows) > query.limit
    shown = tuple(rows[: query.limit])
    return Page(rows=shown, next_id=shown[-1].id if more else page.next_id)


def _named(connection: sqlite3.Connection, tenant: str, text: str) -> list[str]:
    """Events that go by `text`: our id, the publisher's, or any id that a provider dedupes by."""
    event = resolve_event(connection, tenant, text)
    named = {event.id} if event else set()
    hashed = key_hash(text)
    for (scope,) in connection.execute(SCOPES, {"tenant": tenant}).fetchall():
        row = connection.execute(FIND_BY_KEY, (tenant, scope, hashed)).fetchone()
        if row is not None:
            named.add(row[0])
    return sorted(named)


def _search_payloads(connection: sqlite3.Connection, scan: Where, keep: Where, limit: int) -> Page[Event]:
    """Newest first, for PAYLOAD_SEARCH_S: some rows at a time, as many as take a tenth of it."""
    deadline = time.monotonic() + PAYLOAD_SEARCH_S
    rows: list[Event] = []
    before, step, read = Where(scan), PAYLOADS_FIRST_STEP, 0
    while True:
        started = time.monotonic()
        edge = _edge(connection, EVENTS, before, step)
        more, cut = _rows(connection, EVENTS, before, keep, edge, limit + 1 - len(rows))
        rows += more
        if cut:
            return Page(rows=tuple(rows[:limit]), next_id=rows[:limit][-1].id)
        if len(rows) > limit:
            return Page(rows=tuple(rows[:limit]), next_id=rows[limit - 1].id)
        read, now = read + step, time.monotonic()
        if edge is None or now > deadline or read >= SCAN_ROWS_MAX:
            return Page(rows=tuple(rows), next_id=edge)
        before = Where(scan)
        before.add("e.id < ?", edge)
        step = step * 2 if now - started < PAYLOAD_SEARCH_S / 10 else max(1, step // 2)


def _range(where: Where, column: str, prefix: str, query: EventQuery | DeliveryQuery) -> None:
    if query.before_id is not None:
        where.add(f"{column} < ?", query.before_id)
    if query.since is not None:
        where.add(f"{column} >= ?", id_floor(prefix, query.since))
    if query.until is not None:
        where.add(f"{column} < ?", id_floor(prefix, query.until))
