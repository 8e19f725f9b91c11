"""Claims: lanes with room take what is due; and who still has something waiting. Plain functions on a connection."""

import sqlite3
from collections.abc import Sequence

from orderwire.store.base import Claimed, LaneDue, Want, Work
from orderwire.store.sqlite.rows import WORK_COLUMNS, execute_many, work_of

# Of an ordered subject nothing else may be in hand (ordering.py); unordered deliveries have no subject here.
_NO_RETRY_IN_HAND = (
    "NOT EXISTS (SELECT 1 FROM deliveries m INDEXED BY deliveries_manual"
    " WHERE m.destination = d.destination AND m.manual = 1 AND m.owner IS NOT NULL AND m.subject = d.subject)"
)
_NO_HEAD_IN_HAND = (
    "NOT EXISTS (SELECT 1 FROM lane_subjects s JOIN deliveries h ON h.tenant = d.tenant AND h.id = s.head"
    " WHERE s.destination = d.destination AND s.subject = d.subject AND h.owner IS NOT NULL)"
)
CLAIM_MANUAL = (
    "SELECT d.tenant, d.id, d.subject FROM deliveries d INDEXED BY deliveries_manual"  # noqa: S608 - constants
    " WHERE d.destination = ? AND d.tenant = ? AND d.manual = 1 AND d.owner IS NULL"
    f" AND {_NO_RETRY_IN_HAND} AND {_NO_HEAD_IN_HAND} ORDER BY d.tenant, d.id LIMIT ?"
)
_DUE = (  # `+`: an equality would hide from the planner that the index is in order already
    "FROM deliveries d INDEXED BY deliveries_due"
    " WHERE d.destination = ? AND +d.tenant = ? AND d.owner IS NULL AND d.due_at IS NOT NULL"
    f" AND {_NO_RETRY_IN_HAND}"
)
CLAIM_DUE = f"SELECT d.tenant, d.id {_DUE} AND d.due_at <= ? AND d.manual = 0 ORDER BY d.due_at, d.tenant, d.id LIMIT ?"
NEXT_DUE = f"SELECT d.due_at {_DUE} ORDER BY d.due_at LIMIT 1"
# What is chosen is owned by one statement and read by one: the order of the chosen is kept (CROSS JOIN).
OWN_BEFORE = "WITH v (tenant, id, owner) AS ("
OWN_AFTER = ") UPDATE deliveries SET owner = v.owner FROM v WHERE deliveries.tenant = v.tenant AND deliveries.id = v.id"
READ_BEFORE = "WITH v (tenant, id) AS ("
READ_AFTER = (
    f") SELECT {WORK_COLUMNS} FROM v CROSS JOIN deliveries d ON d.tenant = v.tenant AND d.id = v.id"  # noqa: S608
    " CROSS JOIN events e ON e.tenant = d.tenant AND e.id = d.event_id"
)
DUE_LANES = (
    "WITH RECURSIVE lanes (destination) AS ("
    "  SELECT min(destination) FROM deliveries INDEXED BY deliveries_due WHERE owner IS NULL AND due_at IS NOT NULL"
    "  UNION ALL"
    "  SELECT (SELECT min(d.destination) FROM deliveries d INDEXED BY deliveries_due"
    "          WHERE d.owner IS NULL AND d.due_at IS NOT NULL AND d.destination > lanes.destination)"
    "  FROM lanes WHERE lanes.destination IS NOT NULL)"
    " SELECT destination, (SELECT min(d.due_at) FROM deliveries d INDEXED BY deliveries_due"
    "  WHERE d.owner IS NULL AND d.due_at IS NOT NULL AND d.destination = lanes.destination)"
    " FROM lanes WHERE destination IS NOT NULL"
    " UNION ALL SELECT DISTINCT destination, 0 FROM deliveries INDEXED BY deliveries_manual"
    "  WHERE manual = 1 AND owner IS NULL"
)
# Unfinished deliveries of a lane: those due, those in hand, those behind a head.
_IN_TURN = "sequence IS NOT NULL AND status IN ('pending', 'retrying')"
WAITING = (
    "deliveries_due WHERE destination = ? AND owner IS NULL AND due_at IS NOT NULL",
    "deliveries_owned WHERE owner IS NOT NULL AND destination = ? AND status IN ('pending', 'retrying')",
    f"deliveries_order WHERE destination = ? AND {_IN_TURN} AND owner IS NULL AND due_at IS NULL",
)


def claim(connection: sqlite3.Connection, wants: Sequence[Want], now: int, owner: str) -> Claimed:
    """Own what is due, lane by lane."""
    works: list[Work] = []
    due: list[LaneDue] = []
    for want in wants:
        limit = max(0, want.limit)
        chosen, more = _claim_manual(connection, want, limit, owner)
        rest = connection.execute(CLAIM_DUE, (want.destination, want.tenant, now, limit - len(chosen))).fetchall()
        _own(connection, rest, owner)
        found = execute_many(connection, READ_BEFORE, "(?,?)", READ_AFTER, (*chosen, *rest))
        works += [work_of(row) for row in found]
        row = connection.execute(NEXT_DUE, (want.destination, want.tenant)).fetchone()
        if more or row is not None:
            due.append(LaneDue(destination=want.destination, due_at=0 if more else row[0]))
    return Claimed(works=works, due=due)


def due_lanes(connection: sqlite3.Connection) -> list[LaneDue]:
    """Every lane with something unowned waiting, once. A manual retry is due since ever."""
    first = dict(sorted(connection.execute(DUE_LANES), reverse=True))
    return [LaneDue(destination=destination, due_at=due_at) for destination, due_at in first.items()]


def waiting_count(connection: sqlite3.Connection, destination: str, limit: int) -> int:
    """How many deliveries of a lane are unfinished, counted up to `limit`."""
    count = 0
    for place in WAITING:
        if count < limit:
            statement = f"SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY {place} LIMIT ?)"  # noqa: S608
            count += connection.execute(statement, (destination, limit - count)).fetchone()[0]
    return count


def _claim_manual(
    connection: sqlite3.Connection, want: Want, limit: int, owner: str
) -> tuple[list[tuple[str, str]], bool]:
    """What a person asked for, and whether there is more of it; of an ordered subject only one."""
    values = (want.destination, want.tenant)
    found = connection.execute(CLAIM_MANUAL, (*values, limit)).fetchall()
    chosen: list[tuple[str, str]] = []
    subjects: set[str] = set()
    for tenant, delivery_id, subject in found:
        if subject is None or subject not in subjects:
            subjects.add(subject)
            chosen.append((tenant, delivery_id))
    _own(connection, chosen, owner)
    more = len(found) == limit and connection.execute(CLAIM_MANUAL, (*values, 1)).fetchone() is not None
    return chosen, more


def _own(connection: sqlite3.Connection, places: Sequence[tuple[str, str]], owner: str) -> None:
    execute_many(connection, OWN_BEFORE, "(?,?,?)", OWN_AFTER, [(*place, owner) for place in places])
