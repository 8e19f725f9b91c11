"""Ordered subjects (DECISIONS.md 5): numbers on the way in, and who may be sent now.

Per (destination, subject) there is a row while anything of it is unfinished or held. Its `head` is the first
unfinished delivery, or a failed one that holds the rest back. Only the head is due. What is in hand of a subject is
its head, or a manual retry of an earlier one: never both, never two.
"""

import sqlite3
from collections.abc import Iterable

_TAKE_NUMBER = (
    "INSERT INTO lane_subjects (destination, subject, last_sequence, head) VALUES (?, ?, 1, ?)"
    " ON CONFLICT DO UPDATE SET last_sequence = last_sequence + 1, head = coalesce(head, excluded.head)"
    " RETURNING last_sequence, head"
)
_RETRY_IN_HAND = (
    "SELECT 1 FROM deliveries INDEXED BY deliveries_manual"
    " WHERE destination = ? AND manual = 1 AND owner IS NOT NULL AND subject = ? LIMIT 1"
)
_IS_HEAD = (
    "SELECT s.destination, s.subject FROM deliveries d JOIN lane_subjects s"
    " ON s.destination = d.destination AND s.subject = d.subject AND s.head = d.id WHERE d.tenant = ? AND d.id = ?"
)
_FOLLOWING = (
    "SELECT tenant, id FROM deliveries INDEXED BY deliveries_order WHERE destination = ? AND subject = ?"
    " AND sequence IS NOT NULL AND status IN ('pending', 'retrying') AND id <> ? ORDER BY sequence LIMIT 1"
)


def take_number(connection: sqlite3.Connection, destination: str, subject: str, delivery_id: str) -> tuple[int, bool]:
    """A new delivery's number in its subject, and whether it is the head."""
    sequence, head = connection.execute(_TAKE_NUMBER, (destination, subject, delivery_id)).fetchone()
    return sequence, head == delivery_id


def retry_in_hand(connection: sqlite3.Connection, destination: str, subject: str) -> bool:
    """Whether a manual retry of the subject is being sent: then its head waits."""
    return connection.execute(_RETRY_IN_HAND, (destination, subject)).fetchone() is not None


def promote(connection: sqlite3.Connection, tenant: str, delivery_id: str, now: int) -> None:
    """Where `delivery_id` is the head of its subject, the next unfinished one becomes head and due."""
    found = connection.execute(_IS_HEAD, (tenant, delivery_id)).fetchone()
    if found is None:
        return
    following = connection.execute(_FOLLOWING, (*found, delivery_id)).fetchone()
    if following is None:  # numbers may begin again: nothing that has one is unfinished
        connection.execute("DELETE FROM lane_subjects WHERE destination = ? AND subject = ?", found)
        return
    connection.execute(
        "UPDATE lane_subjects SET head = ? WHERE destination = ? AND subject = ?", (following[1], *found)
    )
    connection.execute(
        "UPDATE deliveries SET due_at = ? WHERE tenant = ? AND id = ? AND owner IS NULL", (now, *following)
    )


def give_up(connection: sqlite3.Connection, deliveries: Iterable[tuple[str, str]], owner: str, now: int) -> None:
    """Own these (tenant, id) no longer. A head that was cancelled in hand lets the next go."""
    for tenant, delivery_id in deliveries:
        row = connection.execute(
            "UPDATE deliveries SET owner = NULL WHERE tenant = ? AND id = ? AND owner = ?"
            " RETURNING sequence IS NOT NULL AND status = 'cancelled'",
            (tenant, delivery_id, owner),
        ).fetchone()
        if row is not None and row[0]:
            promote(connection, tenant, delivery_id, now)


def reclaim(connection: sqlite3.Connection, now: int) -> None:
    """At start: whatever a former process had in hand is nobody's."""
    connection.execute("BEGIN IMMEDIATE")
    cancelled = connection.execute(
        "SELECT tenant, id FROM deliveries INDEXED BY deliveries_owned"
        " WHERE owner IS NOT NULL AND sequence IS NOT NULL AND status = 'cancelled'"
    ).fetchall()
    connection.execute("UPDATE deliveries INDEXED BY deliveries_owned SET owner = NULL WHERE owner IS NOT NULL")
    for tenant, delivery_id in cancelled:
        promote(connection, tenant, delivery_id, now)
    connection.execute("COMMIT")
