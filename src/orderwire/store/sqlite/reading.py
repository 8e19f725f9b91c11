"""The lists and the single rows, on reading connections that never wait for the writer.

A list reads newest first and at most SCAN_ROWS_MAX rows whatever its filters: where the bound ends a page early,
the page says where to go on. So a rare type in ten million rows costs a client pages, not the node a minute.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orderwire.ids import id_floor
from orderwire.model import Attempt, Delivery, Event, LaneHealth, RawBody
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
)

T = TypeVar("T", Event, Delivery)
_DELIVERY_FROM = "deliveries d JOIN events e ON e.tenant = d.tenant AND e.id = d.event_id"


class Where:
    """Conditions and their parameters, gathered."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.parts: list[str] = []
        self.values: list[Any] = []

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
        by_key = connection.execute(
            "SELECT event_id FROM keys WHERE tenant = ? AND scope = 'id' AND key_hash = ?",
            (tenant, key_hash(public_id)),
        ).fetchone()
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
    if query.subject is not None:
        scan.add("e.subject = ?", query.subject)
    if query.type is not None and query.type != "*":
        _type(keep, query.type)
    if query.source is not None:
        keep.add("e.source_id = ?", query.source)
    if query.status is not None:
        keep.add(
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id AND d.status = ?)", query.status.value
        )
    if query.text is not None:
        text = query.text
        keep.add(
            "(e.id = ? OR e.supplied_id = ? OR e.subject = ? OR instr(coalesce(e.origin, ''), ?)"
            " OR instr(e.data, CAST(? AS BLOB)))",
            text,
            text,
            text,
            text,
            text,
        )
    return _page(connection, "events e", "e", EVENT_COLUMNS, scan, keep, query.limit, event_of)


def get_delivery(connection: sqlite3.Connection, tenant: str, delivery_id: str) -> Delivery | None:
    """One delivery."""
    row = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM {_DELIVERY_FROM} WHERE d.tenant = ? AND d.id = ?",  # noqa: S608 - constants
        (tenant, delivery_id),
    ).fetchone()
    return delivery_of(row) if row else None


def list_deliveries(connection: sqlite3.Connection, query: DeliveryQuery) -> Page[Delivery]:
    """One page of deliveries."""
    scan, keep = Where(), Where()
    scan.add("d.tenant = ?", query.tenant)
    _range(scan, "d.id", "dlv", query)
    if query.event is not None:
        event = resolve_event(connection, query.tenant, query.event)
        scan.add("d.event_id = ?", event.id if event else "")
    if query.destination is not None:
        scan.add("d.destination = ?", query.destination)
    if query.status is not None:
        (scan if query.status == "failed" else keep).add(f"d.status = '{query.status.value}'")
    if query.type is not None and query.type != "*":
        _type(keep, query.type)
    return _page(connection, _DELIVERY_FROM, "d", DELIVERY_COLUMNS, scan, keep, query.limit, delivery_of)


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


def waiting_count(connection: sqlite3.Connection, destination: str, limit: int) -> int:
    """How many deliveries of a lane are due now or later, up to `limit`."""
    row = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due"
        " WHERE destination = ? AND owner IS NULL AND due_at IS NOT NULL LIMIT ?)",
        (destination, limit),
    ).fetchone()
    return int(row[0])


def load_config(connection: sqlite3.Connection) -> list[ConfigRow]:
    """All configuration."""
    rows = connection.execute("SELECT kind, tenant, id, body, version FROM config ORDER BY kind, tenant, id")
    return [ConfigRow(kind=r[0], tenant=r[1], id=r[2], body=r[3], version=r[4]) for r in rows]


def list_audit(
    connection: sqlite3.Connection, tenant: str, limit: int, before_id: str | None
) -> list[AuditEntry]:
    """Newest first."""
    rows = connection.execute(
        "SELECT id, tenant, at, actor, action, resource, detail FROM audit WHERE tenant = ? AND id < ?"
        " ORDER BY id DESC LIMIT ?",
        (tenant, before_id or "~", limit),
    )
    return [
        AuditEntry(id=r[0], tenant=r[1], at=r[2], actor=r[3], action=r[4], resource=r[5], detail=r[6])
        for r in rows
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


def _page(  # noqa: PLR0913 - one general list instead of two
    connection: sqlite3.Connection,
    tables: str,
    alias: str,
    columns: str,
    scan: Where,
    keep: Where,
    limit: int,
    make: Callable[[Sequence[Any]], T],
) -> Page[T]:
    """Rows that `scan` finds by index, newest first, of which `keep` keeps some: a page and where to go on."""
    if not keep.parts:
        rows = connection.execute(
            f"SELECT {columns} FROM {tables} WHERE {scan} ORDER BY {alias}.id DESC LIMIT ?",  # noqa: S608 - constants
            (*scan.values, limit + 1),
        ).fetchall()
        more = len(rows) > limit
        return Page(
            rows=tuple(make(row) for row in rows[:limit]), next_id=rows[limit - 1][0] if more else None
        )
    last = connection.execute(
        f"SELECT {alias}.id FROM {tables} WHERE {scan} ORDER BY {alias}.id DESC LIMIT 1 OFFSET ?",  # noqa: S608
        (*scan.values, SCAN_ROWS_MAX - 1),
    ).fetchone()
    if last is not None:
        scan.add(f"{alias}.id >= ?", last[0])
    rows = connection.execute(
        f"SELECT {columns} FROM {tables} WHERE {scan} AND {keep} ORDER BY {alias}.id DESC LIMIT ?",  # noqa: S608
        (*scan.values, *keep.values, limit + 1),
    ).fetchall()
    if len(rows) > limit:
        return Page(rows=tuple(make(row) for row in rows[:limit]), next_id=rows[limit - 1][0])
    return Page(rows=tuple(make(row) for row in rows), next_id=last[0] if last is not None else None)


def _range(where: Where, column: str, prefix: str, query: EventQuery | DeliveryQuery) -> None:
    if query.before_id is not None:
        where.add(f"{column} < ?", query.before_id)
    if query.since is not None:
        where.add(f"{column} >= ?", id_floor(prefix, query.since))
    if query.until is not None:
        where.add(f"{column} < ?", id_floor(prefix, query.until))


def _type(where: Where, pattern: str) -> None:
    if pattern.endswith(".*"):
        stem = pattern[:-1]
        where.add("e.type >= ? AND e.type < ?", stem, stem[:-1] + "/")
    else:
        where.add("e.type = ?", pattern)
