"""Changes that people and jobs ask for: retries, cancellations, fan-out, retention, configuration."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from orderwire.errors import NotFound
from orderwire.ids import id_floor, new_id
from orderwire.model import Delivery
from orderwire.store.base import AuditEntry, ConfigRow, Pruned, Target
from orderwire.store.sqlite import reading
from orderwire.store.sqlite.hot import MINUTE, Batch
from orderwire.store.sqlite.ordering import promote
from orderwire.store.sqlite.replaying import end_replays
from orderwire.store.sqlite.rows import EVENT_COLUMNS, event_of

UNFINISHED = "('pending', 'retrying')"
PRUNE_DELIVERIES_MAX = 2_000  # deliveries one transaction of retention touches, unless one event has more
_PARAMETERS_MAX = 500

# A deleted lane's unfinished deliveries. Those due first: its sweep after a crash finds a lane by what is due.
CANCEL_DUE = "deliveries_due WHERE destination = ? AND owner IS NULL AND due_at IS NOT NULL"
CANCEL_FOLLOWING = "deliveries_order WHERE destination = ? AND sequence IS NOT NULL"
CANCEL_IN_HAND = "deliveries_owned WHERE owner IS NOT NULL AND destination = ?"
PRUNABLE = (
    "SELECT e.id, (SELECT count(*) FROM deliveries d INDEXED BY deliveries_event WHERE d.event_id = e.id)"
    " FROM events e INDEXED BY events_tenant WHERE e.tenant = ? AND e.id < ?"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_event"
    "  WHERE d.event_id = e.id AND d.owner IS NOT NULL) ORDER BY e.id LIMIT ?"
)
ANY_OLD = "SELECT 1 FROM events INDEXED BY events_tenant WHERE tenant = ? AND id < ? LIMIT 1"
EXPIRED_KEYS = (
    "DELETE FROM keys WHERE (tenant, scope, key_hash) IN (SELECT tenant, scope, key_hash FROM keys"
    " INDEXED BY keys_expiry WHERE tenant = ? AND expires_at IS NOT NULL AND expires_at < ? LIMIT ?)"
)


def request_retry(connection: sqlite3.Connection, tenant: str, delivery_id: str, now: int) -> Delivery | None:
    """Mark for one attempt now. An ordered delivery that waits behind its head goes when its turn comes."""
    connection.execute(
        "UPDATE deliveries SET manual = 1, updated_at = ? WHERE tenant = ? AND id = ? AND NOT"
        " (sequence IS NOT NULL AND due_at IS NULL AND owner IS NULL AND status IN ('pending', 'retrying'))",
        (now, tenant, delivery_id),
    )
    return reading.get_delivery(connection, tenant, delivery_id)


def cancel(connection: sqlite3.Connection, tenant: str, delivery_id: str, reason: str, now: int) -> Delivery | None:
    """Stop trying one delivery; one in hand stays with its owner until its attempt ends."""
    connection.execute(
        "UPDATE deliveries SET status = 'cancelled', reason = ?, due_at = NULL, manual = 0, updated_at = ?"  # noqa: S608
        f" WHERE tenant = ? AND id = ? AND status IN {UNFINISHED}",
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
    """A bounded step of cancelling all that a deleted destination has waiting, by indexes that hold nothing else."""
    end_replays(connection, destination)
    connection.execute(
        "UPDATE deliveries INDEXED BY deliveries_manual SET manual = 0"
        " WHERE destination = ? AND manual = 1 AND owner IS NULL",
        (destination,),
    )
    done = 0
    while step := _cancel_some(connection, CANCEL_DUE, (reason, now, destination, limit - done)):
        done += len(step)
        for tenant, delivery_id, ordered in step:
            if ordered:
                promote(connection, tenant, delivery_id, now)
    for place in (CANCEL_FOLLOWING, CANCEL_IN_HAND):
        done += len(_cancel_some(connection, place, (reason, now, destination, limit - done)))
    return done


def _cancel_some(
    connection: sqlite3.Connection, place: str, values: tuple[str, int, str, int]
) -> list[tuple[str, str, int]]:
    return connection.execute(
        "UPDATE deliveries SET status = 'cancelled', reason = ?, due_at = NULL, manual = 0, updated_at = ?"  # noqa: S608
        f" WHERE (tenant, id) IN (SELECT tenant, id FROM deliveries INDEXED BY {place} AND status IN {UNFINISHED}"
        " LIMIT ?) RETURNING tenant, id, sequence IS NOT NULL",
        values,
    ).fetchall()


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
        connection.execute("UPDATE fanouts SET position = ? WHERE event_id = ?", (position + len(step), event_id))
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
    cursor = connection.execute("DELETE FROM config WHERE kind = ? AND tenant = ? AND id = ?", (kind, tenant, row_id))
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
    limit = min(limit, _PARAMETERS_MAX)
    keys = connection.execute(EXPIRED_KEYS, (tenant, now, limit)).rowcount
    ids, more = _prunable(connection, tenant, before, limit)
    if not ids:
        return Pruned(keys=keys, more=keys == limit, left=_any_left(connection, tenant, before))
    marks = ",".join("?" * len(ids))
    if expired := _expire(connection, marks, ids, now):
        return Pruned(expired=expired, keys=keys, more=True)
    _promote_past(connection, marks, ids, now)
    _drop_statistics(connection, marks, ids, before)
    for statement in (
        "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id IN ({}))",
        "DELETE FROM deliveries WHERE event_id IN ({})",
        "DELETE FROM raws WHERE event_id IN ({})",
        "DELETE FROM fanouts WHERE event_id IN ({})",
        "DELETE FROM keys WHERE event_id IN ({}) AND expires_at IS NULL",
    ):
        connection.execute(statement.format(marks), ids)
    connection.execute(f"DELETE FROM events WHERE tenant = ? AND id IN ({marks})", (tenant, *ids))  # noqa: S608
    connection.execute(
        "DELETE FROM replays WHERE id < ? AND tenant = ? AND finished = 1", (id_floor("rpl", before), tenant)
    )
    more = more or keys == limit
    return Pruned(events=len(ids), keys=keys, more=more, left=not more and _any_left(connection, tenant, before))


def _prunable(connection: sqlite3.Connection, tenant: str, before: int, limit: int) -> tuple[list[str], bool]:
    """The oldest events without a delivery in hand, as many as one transaction should drop; whether there are more."""
    found = connection.execute(PRUNABLE, (tenant, id_floor("evt", before), limit)).fetchall()
    ids: list[str] = []
    deliveries = 0
    for event_id, count in found:
        deliveries += count
        if ids and deliveries > PRUNE_DELIVERIES_MAX:
            break
        ids.append(event_id)
    return ids, len(ids) < len(found) or len(found) == limit


def _any_left(connection: sqlite3.Connection, tenant: str, before: int) -> bool:
    row = connection.execute(ANY_OLD, (tenant, id_floor("evt", before))).fetchone()
    return row is not None


def _expire(connection: sqlite3.Connection, marks: str, ids: list[str], now: int) -> int:
    rows = connection.execute(
        "UPDATE deliveries SET status = 'failed', reason = 'expired', due_at = NULL, manual = 0, updated_at = ?"  # noqa: S608
        f" WHERE (tenant, id) IN (SELECT tenant, id FROM deliveries INDEXED BY deliveries_event"
        f"  WHERE event_id IN ({marks}) AND status IN {UNFINISHED} LIMIT ?) RETURNING tenant, id, sequence IS NOT NULL",
        (now, *ids, PRUNE_DELIVERIES_MAX),
    ).fetchall()
    for tenant, delivery_id, ordered in rows:
        if ordered:
            promote(connection, tenant, delivery_id, now)
    return len(rows)


def _promote_past(connection: sqlite3.Connection, marks: str, ids: list[str], now: int) -> None:
    """A failed head that held its subject back takes the hold with it."""
    heads = connection.execute(
        "SELECT d.tenant, d.id FROM deliveries d INDEXED BY deliveries_event"  # noqa: S608 - marks
        " CROSS JOIN lane_subjects s ON s.destination = d.destination AND s.subject = d.subject AND s.head = d.id"
        f" WHERE d.event_id IN ({marks})",
        ids,
    ).fetchall()
    for tenant, delivery_id in heads:
        promote(connection, tenant, delivery_id, now)


def _drop_statistics(connection: sqlite3.Connection, marks: str, ids: list[str], before: int) -> None:
    """The minutes of their destinations that lie as far back as they do."""
    lanes = connection.execute(
        f"SELECT DISTINCT destination FROM deliveries INDEXED BY deliveries_event WHERE event_id IN ({marks})",  # noqa: S608
        ids,
    ).fetchall()
    connection.executemany(
        "DELETE FROM lane_stats WHERE destination = ? AND minute_at < ?", [(lane, before - MINUTE) for (lane,) in lanes]
    )


def _fanout_target(entry: Any, now: int) -> Target:  # noqa: ANN401 - JSON: [destination, ordered]
    destination, ordered = entry
    return Target(delivery_id=new_id("dlv", now), destination=destination, ordered=ordered)
