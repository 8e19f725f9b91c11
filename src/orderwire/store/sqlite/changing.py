"""Changes that people and jobs ask for: retries, cancellations, replays, fan-out, retention, configuration."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from orderwire.errors import NotFound
from orderwire.ids import id_floor, new_id
from orderwire.model import Delivery, DeliveryStatus
from orderwire.store.base import AuditEntry, ConfigRow, Pruned, ReplayJob, Target
from orderwire.store.sqlite import reading
from orderwire.store.sqlite.hot import Batch, promote
from orderwire.store.sqlite.rows import EVENT_COLUMNS, event_of

UNFINISHED = "('pending', 'retrying')"
_PARAMETERS_MAX = 500

# One candidate of a bulk replay: the latest delivery of its event to the destination, in the wanted state.
_CHOOSE = (
    "SELECT d.id, d.event_id, e.type FROM deliveries d JOIN events e ON e.tenant = d.tenant AND e.id = d.event_id"
    " WHERE d.destination = :destination AND d.tenant = :tenant AND d.id > :cursor AND d.id <= :last"
    " AND e.received_at >= :since AND e.received_at < :until"
    " AND d.status NOT IN ('pending', 'retrying') AND (:status IS NULL OR d.status = :status)"
    " AND NOT EXISTS (SELECT 1 FROM deliveries n INDEXED BY deliveries_event"
    "  WHERE n.event_id = d.event_id AND n.destination = d.destination AND n.id > d.id)"
    " ORDER BY d.id LIMIT :limit"
)


def request_retry(connection: sqlite3.Connection, tenant: str, delivery_id: str, now: int) -> Delivery | None:
    """Mark for one attempt now. An ordered delivery that waits behind its head goes when its turn comes."""
    connection.execute(
        "UPDATE deliveries SET manual = 1, updated_at = ? WHERE tenant = ? AND id = ? AND NOT"
        " (sequence IS NOT NULL AND due_at IS NULL AND owner IS NULL AND status IN ('pending', 'retrying'))",
        (now, tenant, delivery_id),
    )
    return reading.get_delivery(connection, tenant, delivery_id)


def cancel(
    connection: sqlite3.Connection, tenant: str, delivery_id: str, reason: str, now: int
) -> Delivery | None:
    """Stop trying one delivery; one in hand stays with its owner until its attempt ends."""
    connection.execute(
        "UPDATE deliveries SET status = 'cancelled', reason = ?, due_at = NULL, manual = 0, updated_at = ?"
        f" WHERE tenant = ? AND id = ? AND status IN {UNFINISHED}",  # noqa: S608 - a constant
        (reason, now, tenant, delivery_id),
    )
    row = connection.execute(
        "SELECT 1 FROM deliveries WHERE tenant = ? AND id = ? AND owner IS NULL AND status IN ('cancelled', 'failed')",
        (tenant, delivery_id),
    ).fetchone()
    if row is not None:  # one in hand is promoted past when its attempt ends; a held failed head lets go now
        promote(connection, tenant, delivery_id, now)
    return reading.get_delivery(connection, tenant, delivery_id)


def cancel_lane(connection: sqlite3.Connection, destination: str, reason: str, limit: int, now: int) -> int:
    """A bounded step of cancelling all that a deleted destination has waiting."""
    cursor = connection.execute(
        "UPDATE deliveries SET status = 'cancelled', reason = ?, due_at = NULL, manual = 0, updated_at = ?"
        " WHERE (tenant, id) IN (SELECT tenant, id FROM deliveries INDEXED BY deliveries_destination"
        f"  WHERE destination = ? AND status IN {UNFINISHED} LIMIT ?)",  # noqa: S608 - a constant
        (reason, now, destination, limit),
    )
    return cursor.rowcount


def replay(
    connection: sqlite3.Connection,
    tenant: str,
    event_id: str,
    targets: Sequence[Target],
    now: int,
    owner: str,
) -> int:
    """New deliveries of a kept event."""
    row = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant = ? AND e.id = ?",  # noqa: S608 - constants
        (tenant, event_id),
    ).fetchone()
    if row is None:
        detail = f"no event {event_id}"
        raise NotFound(detail)
    event, batch = event_of(row), Batch(connection, owner)
    for target in targets:
        batch.add_delivery(event, target, now)
    batch.write()
    return len(targets)


def create_replay(connection: sqlite3.Connection, job: ReplayJob, now: int) -> ReplayJob:
    """Store a job with the last delivery it may look at: later ones are none of its business."""
    last = id_floor("dlv", now + 1)
    values = {
        "destination": job.destination,
        "tenant": job.tenant,
        "cursor": "",
        "last": last,
        "since": job.since,
        "until": job.until,
        "status": job.status.value if job.status else None,
        "limit": -1,
    }
    count = sum(
        1 for row in connection.execute(_CHOOSE, values) if not job.types or _matches(row[2], job.types)
    )
    connection.execute(
        "INSERT INTO replays VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, 0, 0)",
        (
            job.id,
            job.tenant,
            job.destination,
            job.since,
            job.until,
            values["status"],
            json.dumps(job.types),
            job.force,
            job.ordered,
            last,
            count,
        ),
    )
    return msgspec.structs.replace(job, count=count)


def step_replays(connection: sqlite3.Connection, limit: int, now: int, owner: str) -> list[ReplayJob]:
    """One bounded step of the oldest open job: its deliveries and its cursor in one transaction."""
    connection.row_factory = sqlite3.Row
    try:
        row = connection.execute(
            "SELECT * FROM replays INDEXED BY replays_open WHERE finished = 0 ORDER BY id LIMIT 1"
        ).fetchone()
    finally:
        connection.row_factory = None
    if row is None:
        return []
    values = dict(row) | {"limit": limit}
    types = tuple(json.loads(row["types"]))
    chosen = connection.execute(_CHOOSE, values).fetchall()
    batch, made = Batch(connection, owner), 0
    for _, event_id, event_type in chosen:
        if types and not _matches(event_type, types):
            continue
        statement = f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant = ? AND e.id = ?"  # noqa: S608
        event = event_of(connection.execute(statement, (row["tenant"], event_id)).fetchone())
        target = Target(
            delivery_id=new_id("dlv", now),
            destination=row["destination"],
            ordered=bool(row["ordered"]),
            reason="replay",
        )
        batch.add_delivery(event, target, now)
        made += 1
    batch.write()
    finished = len(chosen) < limit
    cursor = chosen[-1][0] if chosen else row["cursor"]
    connection.execute(
        "UPDATE replays SET cursor = ?, made = made + ?, finished = ? WHERE id = ?",
        (cursor, made, finished, row["id"]),
    )
    return [_stored_job(values | {"made": row["made"] + made, "finished": finished})]


def step_fanouts(connection: sqlite3.Connection, limit: int, now: int, owner: str) -> list[str]:
    """One bounded step of the oldest fan-out."""
    row = connection.execute(
        "SELECT event_id, tenant, destinations, position FROM fanouts ORDER BY event_id LIMIT 1"
    ).fetchone()
    if row is None:
        return []
    event_id, tenant, text, position = row
    every = json.loads(text)
    step = every[position : position + limit]
    targets = [_fanout_target(entry, now) for entry in step]
    replay(connection, tenant, event_id, targets, now, owner)
    if position + len(step) >= len(every):
        connection.execute("DELETE FROM fanouts WHERE event_id = ?", (event_id,))
    else:
        connection.execute(
            "UPDATE fanouts SET position = ? WHERE event_id = ?", (position + len(step), event_id)
        )
    return [target.destination for target in targets]


def save_config(connection: sqlite3.Connection, row: ConfigRow, audit: AuditEntry | None) -> bool:
    """Write a row if its version follows the stored one."""
    if row.version == 1:
        statement = "INSERT OR IGNORE INTO config (body, version, kind, tenant, id) VALUES (?, ?, ?, ?, ?)"
        cursor = connection.execute(statement, (row.body, 1, row.kind, row.tenant, row.id))
    else:
        cursor = connection.execute(
            "UPDATE config SET body = ?, version = ? WHERE kind = ? AND tenant = ? AND id = ? AND version = ?",
            (row.body, row.version, row.kind, row.tenant, row.id, row.version - 1),
        )
    if cursor.rowcount == 1 and audit is not None:
        append_audit(connection, audit)
    return cursor.rowcount == 1


def delete_config(
    connection: sqlite3.Connection, kind: str, tenant: str, row_id: str, audit: AuditEntry | None
) -> bool:
    """Remove a row."""
    cursor = connection.execute(
        "DELETE FROM config WHERE kind = ? AND tenant = ? AND id = ?", (kind, tenant, row_id)
    )
    if cursor.rowcount == 1 and audit is not None:
        append_audit(connection, audit)
    return cursor.rowcount == 1


def append_audit(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """One line of the audit log."""
    connection.execute(
        "INSERT INTO audit (tenant, id, at, actor, action, resource, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (entry.tenant, entry.id, entry.at, entry.actor, entry.action, entry.resource, entry.detail),
    )


def prune(connection: sqlite3.Connection, tenant: str, before: int, limit: int, now: int) -> Pruned:
    """A bounded step of retention: first fail what is still unfinished, then drop whole events."""
    ids = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM events INDEXED BY events_tenant WHERE tenant = ? AND id < ? ORDER BY id LIMIT ?",
            (tenant, id_floor("evt", before), min(limit, _PARAMETERS_MAX)),
        )
    ]
    keys = connection.execute(
        "DELETE FROM keys WHERE (tenant, scope, key_hash) IN (SELECT tenant, scope, key_hash FROM keys"
        " INDEXED BY keys_expiry WHERE tenant = ? AND expires_at IS NOT NULL AND expires_at < ? LIMIT ?)",
        (tenant, now, limit),
    ).rowcount
    if not ids:
        return Pruned(keys=keys, more=keys == limit)
    marks = ",".join("?" * len(ids))
    expired = _expire(connection, tenant, marks, ids, now)
    in_hand = connection.execute(
        f"SELECT 1 FROM deliveries WHERE event_id IN ({marks}) AND owner IS NOT NULL LIMIT 1",  # noqa: S608 - marks
        ids,
    ).fetchone()
    if expired or in_hand:
        return Pruned(expired=expired, keys=keys, more=in_hand is None)
    for statement in (
        "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN ({}))",
        "DELETE FROM deliveries WHERE event_id IN ({})",
        "DELETE FROM raws WHERE event_id IN ({})",
        "DELETE FROM fanouts WHERE event_id IN ({})",
        "DELETE FROM keys WHERE event_id IN ({}) AND expires_at IS NULL",
    ):
        connection.execute(statement.format(marks), ids)
    connection.execute(f"DELETE FROM events WHERE tenant = ? AND id IN ({marks})", (tenant, *ids))  # noqa: S608
    return Pruned(events=len(ids), keys=keys, more=len(ids) == min(limit, _PARAMETERS_MAX))


def _expire(connection: sqlite3.Connection, tenant: str, marks: str, ids: list[str], now: int) -> int:
    rows = connection.execute(
        f"SELECT id FROM deliveries WHERE event_id IN ({marks}) AND status IN {UNFINISHED} AND owner IS NULL",  # noqa: S608
        ids,
    ).fetchall()
    for (delivery_id,) in rows:
        connection.execute(
            "UPDATE deliveries SET status = 'failed', reason = 'expired', due_at = NULL, manual = 0, updated_at = ?"
            " WHERE tenant = ? AND id = ?",
            (now, tenant, delivery_id),
        )
        promote(connection, tenant, delivery_id, now)
    return len(rows)


def _fanout_target(entry: Any, now: int) -> Target:  # noqa: ANN401 - JSON: [destination, ordered]
    destination, ordered = entry
    return Target(delivery_id=new_id("dlv", now), destination=destination, ordered=ordered)


def _matches(event_type: str, patterns: Sequence[str]) -> bool:
    return any(
        pattern == "*"
        or event_type == pattern
        or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in patterns
    )


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
