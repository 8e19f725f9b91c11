"""Bulk replays: chosen by each event's latest delivery to the destination, made in bounded steps."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from orderwire.ids import id_floor, new_id
from orderwire.model import DeliveryStatus
from orderwire.store.base import ReplayJob, Target
from orderwire.store.sqlite.hot import Batch
from orderwire.store.sqlite.rows import EVENT_COLUMNS, event_of, type_condition

WINDOW_ROWS = 2_000  # deliveries one step looks at: the writer has others to serve

# The latest delivery of its event to the destination, in the wanted state, with none of the event's unfinished.
CANDIDATES = (
    "FROM deliveries d INDEXED BY deliveries_destination"
    " CROSS JOIN events e INDEXED BY events_tenant ON e.tenant = d.tenant AND e.id = d.event_id"
    " WHERE d.destination = :destination AND d.id > :cursor AND d.id <= :upper AND d.tenant = :tenant"
    " AND e.received_at >= :since AND e.received_at < :until"
    " AND d.status NOT IN ('pending', 'retrying') AND (:status IS NULL OR d.status = :status)"
    " AND NOT EXISTS (SELECT 1 FROM deliveries n INDEXED BY deliveries_event WHERE n.event_id = d.event_id"
    "  AND n.destination = d.destination AND (n.id > d.id OR n.status IN ('pending', 'retrying')))"
)
WINDOW = (
    "SELECT id FROM deliveries INDEXED BY deliveries_destination"
    " WHERE destination = :destination AND id > :cursor AND id <= :last ORDER BY id LIMIT 1 OFFSET :rows"
)
OPEN = "SELECT * FROM replays INDEXED BY replays_open WHERE finished = 0 ORDER BY id LIMIT 1"


def count_candidates(connection: sqlite3.Connection, job: ReplayJob, last: str) -> int:
    """How many deliveries up to `last` a job would make now. On a reading connection: it may take a while."""
    types, values = _types(job.types)
    values |= {
        "destination": job.destination,
        "tenant": job.tenant,
        "cursor": _start(job),
        "upper": last,
        "since": job.since,
        "until": job.until,
        "status": job.status.value if job.status else None,
    }
    row = connection.execute(f"SELECT count(*) {CANDIDATES} AND {types}", values).fetchone()
    return int(row[0])


def create_replay(connection: sqlite3.Connection, job: ReplayJob, last: str, count: int) -> ReplayJob:
    """Store a job with the last delivery it may look at."""
    connection.execute(
        "INSERT INTO replays (id, tenant, destination, since, until, status, types, force, ordered, cursor, last,"
        " count, made, finished) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        (
            job.id,
            job.tenant,
            job.destination,
            job.since,
            job.until,
            job.status.value if job.status else None,
            json.dumps(job.types),
            job.force,
            job.ordered,
            _start(job),
            last,
            count,
        ),
    )
    return msgspec.structs.replace(job, count=count)


def step_replays(connection: sqlite3.Connection, limit: int, now: int, owner: str) -> list[ReplayJob]:
    """One bounded step of the oldest open job: its deliveries and its cursor in one transaction."""
    found = connection.execute(OPEN)
    row = found.fetchone()
    if row is None:
        return []
    job: dict[str, Any] = dict(zip((column[0] for column in found.description), row, strict=True))
    edge = connection.execute(WINDOW, job | {"rows": WINDOW_ROWS - 1}).fetchone()
    upper = edge[0] if edge else job["last"]
    chosen = _choose(connection, job | {"upper": upper, "limit": limit})
    batch = Batch(connection, owner)
    for event_row in chosen:
        target = Target(
            delivery_id=new_id("dlv", now),
            destination=job["destination"],
            ordered=bool(job["ordered"]),
            reason="replay",
        )
        batch.add_delivery(event_of(event_row), target, now)
    batch.write()
    full = len(chosen) == limit
    job["cursor"] = chosen[-1][-1] if full else upper
    job["finished"] = edge is None and not full
    job["made"] += len(chosen)
    connection.execute("UPDATE replays SET cursor = :cursor, made = :made, finished = :finished WHERE id = :id", job)
    return [_stored_job(job)]


def end_replays(connection: sqlite3.Connection, destination: str) -> None:
    """The destination is gone: its jobs make nothing more."""
    connection.execute(
        "UPDATE replays INDEXED BY replays_open SET finished = 1 WHERE finished = 0 AND destination = ?", (destination,)
    )


def _choose(connection: sqlite3.Connection, values: dict[str, Any]) -> list[Any]:
    """Events to send again, with the delivery that each was chosen by at the end."""
    types, more = _types(json.loads(values["types"]))
    statement = f"SELECT {EVENT_COLUMNS}, d.id {CANDIDATES} AND {types} ORDER BY d.id LIMIT :limit"
    return connection.execute(statement, values | more).fetchall()


def _start(job: ReplayJob) -> str:
    """No delivery is older than its event."""
    return id_floor("dlv", max(0, job.since))


def _types(patterns: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """`e.type` matches one of them; every type without any."""
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for number, pattern in enumerate(patterns):
        low, high = f"low{number}", f"high{number}"
        condition, bounds = type_condition(pattern, f":{low}", f":{high}")
        conditions.append(condition)
        values |= dict(zip((low, high), bounds, strict=False))
    return f"({' OR '.join(conditions)})" if conditions else "1", values


def _stored_job(row: dict[str, Any]) -> ReplayJob:
    return ReplayJob(
        id=row["id"],
        tenant=row["tenant"],
        destination=row["destination"],
        since=row["since"],
        until=row["until"],
        status=DeliveryStatus(row["status"]) if row["status"] else None,
        types=tuple(json.loads(row["types"])),
        force=bool(row["force"]),
        ordered=bool(row["ordered"]),
        count=row["count"],
        made=row["made"],
        finished=bool(row["finished"]),
    )
