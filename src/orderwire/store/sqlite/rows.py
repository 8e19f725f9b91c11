"""Rows to values and back, and statements over many rows at once."""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from itertools import chain
from typing import Any

from orderwire.model import Attempt, Delivery, DeliveryStatus, Event, Outcome, Trust
from orderwire.store.base import Work

# Rows of one statement at the most: 64 of 13 columns stay far below SQLite's 32,766 variables.
CHUNK_ROWS = 64

EVENT_COLUMNS = (
    "e.id, e.tenant, e.type, e.subject, e.time_at, e.received_at, e.supplied_id, e.source_id, e.trust, e.origin, e.data"
)
DELIVERY_COLUMNS = (
    "d.id, d.tenant, d.event_id, coalesce(e.supplied_id, e.id), e.type, e.subject, d.destination, d.status, d.reason,"
    " d.attempt_count, d.due_at, d.created_at, d.updated_at"
)
WORK_COLUMNS = (
    "d.id, d.attempt_count, d.scheduled_count, d.status, d.due_at, d.manual, d.sequence IS NOT NULL, d.reason,"
    f" d.destination, {EVENT_COLUMNS}"
)


def execute_many(
    connection: sqlite3.Connection, before: str, row: str, after: str, rows: Sequence[Iterable[Any]]
) -> list[Any]:
    """Run `before VALUES row, row, ... after` over all rows, CHUNK_ROWS a statement; what the statements answered.

    Unlike `executemany` this gives up the interpreter lock once a chunk, not once a row: with a busy event loop
    each time costs up to a whole switch interval. A statement for each size is prepared once and kept.
    """
    found: list[Any] = []
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        statement = _many(before, row, after, len(chunk))
        found += connection.execute(statement, tuple(chain.from_iterable(chunk))).fetchall()
    return found


@cache
def _many(before: str, row: str, after: str, count: int) -> str:
    return f"{before} VALUES {', '.join([row] * count)} {after}"


def key_hash(key: str) -> bytes:
    """What the keys table holds of an id that others chose."""
    return sha256(key.encode()).digest()[:16]


def type_condition(pattern: str, low: str = "?", high: str = "?") -> tuple[str, tuple[str, ...]]:
    """That `e.type` matches `pattern`, and the values of the parameters `low` and `high`, as far as it has them."""
    if pattern == "*":
        return "1", ()
    if not pattern.endswith(".*"):
        return f"e.type = {low}", (pattern,)
    stem = pattern[:-1]  # "order.": what begins with it sorts before "order/"
    return f"(e.type >= {low} AND e.type < {high})", (stem, stem[:-1] + "/")


def event_of(row: Sequence[Any]) -> Event:
    """From EVENT_COLUMNS."""
    return Event(
        id=row[0],
        tenant=row[1],
        type=row[2],
        subject=row[3],
        time_at=row[4],
        received_at=row[5],
        supplied_id=row[6],
        source_id=row[7],
        trust=Trust(row[8]),
        origin=row[9],
        data=row[10],
    )


def delivery_of(row: Sequence[Any]) -> Delivery:
    """From DELIVERY_COLUMNS."""
    return Delivery(
        id=row[0],
        tenant=row[1],
        event_id=row[2],
        event=row[3],
        type=row[4],
        subject=row[5],
        destination=row[6],
        status=DeliveryStatus(row[7]),
        reason=row[8],
        attempt_count=row[9],
        next_attempt_at=row[10],
        created_at=row[11],
        updated_at=row[12],
    )


def work_of(row: Sequence[Any]) -> Work:
    """From WORK_COLUMNS."""
    event = event_of(row[9:])
    return Work(
        delivery_id=row[0],
        tenant=event.tenant,
        destination=row[8],
        event=event,
        attempt_count=row[1],
        scheduled_count=row[2],
        status=DeliveryStatus(row[3]),
        due_at=row[4],
        manual=bool(row[5]),
        ordered=bool(row[6]),
        reason=row[7],
    )


def attempt_of(row: Sequence[Any]) -> Attempt:
    """From `SELECT * FROM attempts`."""
    return Attempt(
        delivery=row[0],
        number=row[1],
        id=row[2],
        manual=bool(row[3]),
        started_at=row[4],
        duration_ms=row[5],
        outcome=Outcome(row[6]),
        status_code=row[7],
        error=row[8],
        response_headers=row[9],
        response_body=row[10],
        response_truncated=bool(row[11]),
        request_url=row[12],
    )
