"""The hot path's statements: accept and finish. Plain functions on the writing connection.

Each takes everything that waits and writes it with a few many-row statements. Refusals (Conflict) are found
before the first row of their unit is written, so that a refused unit leaves no trace in a shared transaction.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from math import ceil, log2
from typing import TYPE_CHECKING, Any

from orderwire.errors import Conflict, FieldError
from orderwire.ids import looks_generated
from orderwire.model import DedupeKey, Event
from orderwire.store.base import Accepted, AcceptItem, Finish, Target
from orderwire.store.sqlite.ordering import promote, retry_in_hand, take_number
from orderwire.store.sqlite.rows import execute_many, key_hash

if TYPE_CHECKING:
    from orderwire.store.sqlite.writer import Unit

MINUTE = 60_000_000

INSERT_EVENTS = (
    "INSERT INTO events (id, tenant, type, subject, time_at, received_at, supplied_id, source_id, trust, origin, data)"
)
INSERT_KEYS = "INSERT OR REPLACE INTO keys (tenant, scope, key_hash, event_id, received_at, expires_at, content_hash)"
INSERT_RAWS = "INSERT INTO raws (event_id, tenant, content_type, headers, body)"
INSERT_DELIVERIES = (
    "INSERT INTO deliveries (tenant, id, event_id, destination, status, reason, due_at, owner, subject, sequence,"
    " created_at, updated_at)"
)
INSERT_ATTEMPTS = (
    "INSERT OR REPLACE INTO attempts (delivery_id, number, id, manual, started_at, duration_ms, outcome, status_code,"
    " error, response_headers, response_body, response_truncated, request_url)"
)
FINISH_BEFORE = "WITH v (tenant, id, status, reason, attempt_count, scheduled_count, due_at, manual, now, owner) AS ("
# What was cancelled meanwhile stays so unless this attempt delivered it. Only what this process still has in hand.
_STAYS_CANCELLED = "deliveries.status = 'cancelled' AND v.status <> 'delivered'"
FINISH_AFTER = (
    f") UPDATE deliveries SET status = CASE WHEN {_STAYS_CANCELLED} THEN 'cancelled' ELSE v.status END,"  # noqa: S608
    f" reason = CASE WHEN {_STAYS_CANCELLED} THEN deliveries.reason ELSE v.reason END,"
    " due_at = CASE WHEN deliveries.status = 'cancelled' THEN NULL ELSE v.due_at END,"
    " attempt_count = v.attempt_count, scheduled_count = v.scheduled_count, owner = NULL,"
    " manual = CASE WHEN v.manual OR v.status = 'delivered' THEN 0 ELSE deliveries.manual END, updated_at = v.now"
    " FROM v WHERE deliveries.tenant = v.tenant AND deliveries.id = v.id AND deliveries.owner = v.owner"
)
FIND_KEY = "SELECT event_id, received_at, content_hash FROM keys WHERE tenant = ? AND scope = ? AND key_hash = ?"


def accept_group(connection: sqlite3.Connection, units: "Sequence[Unit]", owner: str) -> None:
    """Write every unit's events and deliveries; sets each unit's `result` to its answers or its refusal."""
    batch = Batch(connection, owner)
    for unit in units:
        try:
            unit.result = batch.add(unit.accept or (), unit.now)
        except Conflict as refusal:
            unit.result = refusal
    batch.write()


class Batch:
    """The rows of one transaction, gathered before they are written."""

    def __init__(self, connection: sqlite3.Connection, owner: str) -> None:
        """An empty batch; deliveries asked as owned will belong to `owner`."""
        self._connection = connection
        self._owner = owner
        self._events: list[tuple[Any, ...]] = []
        self._deliveries: list[tuple[Any, ...]] = []
        self._keys: dict[tuple[str, str, bytes], tuple[Any, ...]] = {}
        self._raws: list[tuple[Any, ...]] = []
        self._fanouts: list[tuple[Any, ...]] = []
        self._fresh: dict[str, Accepted] = {}  # those with keys, for duplicates within the batch

    def add(self, items: Sequence[AcceptItem], now: int) -> list[Accepted]:
        """Gather one atomic unit. Raises Conflict before anything of it is gathered."""
        duplicates = self._duplicates(items)
        answers: list[Accepted] = []
        for item, known in zip(items, duplicates, strict=True):
            if isinstance(known, int):  # repeats an earlier item of this very unit
                answers.append(_again(answers[known]))
            elif known is not None:
                answers.append(known)
            else:
                answers.append(self._add_new(item, now))
        return answers

    def _add_new(self, item: AcceptItem, now: int) -> Accepted:
        event = item.event
        self._events.append(
            (
                event.id,
                event.tenant,
                event.type,
                event.subject,
                event.time_at,
                event.received_at,
                event.supplied_id,
                event.source_id,
                event.trust.value,
                event.origin,
                event.data,
            )
        )
        not_owned = frozenset(
            target.delivery_id for target in item.targets if not self.add_delivery(event, target, now)
        )
        if event.raw is not None:
            raw = event.raw
            self._raws.append((event.id, event.tenant, raw.content_type, raw.headers, raw.body))
        if item.fanout:
            self._fanouts.append((event.id, event.tenant, json.dumps(item.fanout), 0))
        accepted = Accepted(
            event_id=event.id,
            public_id=event.supplied_id or event.id,
            time_at=event.time_at,
            received_at=event.received_at,
            duplicate=False,
            delivery_count=len(item.targets) + len(item.fanout),
            not_owned=not_owned,
        )
        if event.keys:
            self._fresh[event.id] = accepted
            for key in event.keys:
                place = (event.tenant, key.scope, key_hash(key.key))
                self._keys[place] = (*place, event.id, event.received_at, key.expires_at, event.content_hash)
        return accepted

    def add_delivery(self, event: Event, target: Target, now: int) -> bool:
        """Gather one delivery. False where it was asked as owned but an ordered head stands before it."""
        subject: str | None = None
        sequence: int | None = None
        due: int | None = now if target.due_at is None else target.due_at
        owned = target.owned
        if target.ordered and event.subject is not None:
            connection, subject = self._connection, event.subject
            sequence, first = take_number(connection, target.destination, subject, target.delivery_id)
            if not first:
                due, owned = None, False
            elif owned and retry_in_hand(connection, target.destination, subject):
                owned = False
        self._deliveries.append(
            (
                event.tenant,
                target.delivery_id,
                event.id,
                target.destination,
                "pending",
                target.reason,
                due,
                self._owner if owned else None,
                subject,
                sequence,
                now,
                now,
            )
        )
        return owned or not target.owned

    def write(self) -> None:
        """Write what was gathered."""
        connection = self._connection
        execute_many(connection, INSERT_EVENTS, "(?,?,?,?,?,?,?,?,?,?,?)", "", self._events)
        execute_many(connection, INSERT_DELIVERIES, "(?,?,?,?,?,?,?,?,?,?,?,?)", "", self._deliveries)
        if self._keys:
            execute_many(connection, INSERT_KEYS, "(?,?,?,?,?,?,?)", "", list(self._keys.values()))
        if self._raws:
            execute_many(connection, INSERT_RAWS, "(?,?,?,?,?)", "", self._raws)
        if self._fanouts:
            before = "INSERT INTO fanouts (event_id, tenant, destinations, position)"
            execute_many(connection, before, "(?,?,?,?)", "", self._fanouts)

    def _duplicates(self, items: Sequence[AcceptItem]) -> list[Accepted | int | None]:
        """For each item: None (new), the first event's answer, or the index of the item of this unit it repeats."""
        known: list[Accepted | int | None] = [None] * len(items)
        seen: dict[tuple[str, str, bytes], int] = {}
        for index, item in enumerate(items):
            for key in item.event.keys:
                place = (item.event.tenant, key.scope, key_hash(key.key))
                if place in seen:
                    earlier = seen[place]
                    _same_or_conflict(key, item.event, items[earlier].event.content_hash, index)
                    known[index] = earlier if known[earlier] is None else known[earlier]
                elif known[index] is None:
                    known[index] = self._find(place, key, item.event, index)
                else:
                    self._find(place, key, item.event, index)
            if known[index] is None:
                for key in item.event.keys:
                    seen[item.event.tenant, key.scope, key_hash(key.key)] = index
        return known

    def _find(self, place: tuple[str, str, bytes], key: DedupeKey, event: Event, index: int) -> Accepted | None:
        waiting = self._keys.get(place)
        if waiting is not None:
            _same_or_conflict(key, event, waiting[6], index)
            return _again(self._fresh[waiting[3]])
        row = self._connection.execute(FIND_KEY, place).fetchone()
        if row is None:
            self._refuse_taken(key, event, index)
            return None
        _same_or_conflict(key, event, row[2], index)
        return self._first(event.tenant, row[0], row[1])

    def _refuse_taken(self, key: DedupeKey, event: Event, index: int) -> None:
        """A supplied id may have the shape of ours: then it must not be one that is in use."""
        if key.scope == "id" and looks_generated(key.key):
            statement = "SELECT 1 FROM events WHERE tenant = ? AND id = ?"
            if self._connection.execute(statement, (event.tenant, key.key)).fetchone() is not None:
                raise _conflict(key, index)

    def _first(self, tenant: str, event_id: str, received_at: int) -> Accepted:
        row = self._connection.execute(
            "SELECT coalesce(supplied_id, id), time_at, (SELECT count(*) FROM deliveries WHERE event_id = e.id)"
            " + coalesce((SELECT json_array_length(destinations) - position FROM fanouts WHERE event_id = e.id), 0)"
            " FROM events e WHERE tenant = ? AND id = ?",
            (tenant, event_id),
        ).fetchone()
        public_id, time_at, count = row if row is not None else (event_id, received_at, 0)
        return Accepted(
            event_id=event_id,
            public_id=public_id,
            time_at=time_at,
            received_at=received_at,
            duplicate=True,
            delivery_count=count,
        )


def finish_group(connection: sqlite3.Connection, finishes: Sequence[Finish], now: int, owner: str) -> None:
    """Write attempts, states, statistics, health, promotions and announcements of many ended attempts.

    The end of what this process does not have in hand (any more) is dropped: another knows better, or it is written.
    """
    if len({finish.delivery_id for finish in finishes}) < len(finishes):  # said twice: the first counts
        finishes = list({finish.delivery_id: finish for finish in reversed(finishes)}.values())
    kept = _write_states(connection, finishes, now, owner)
    _insert_attempts(connection, kept)
    _count(connection, kept)
    announcements = Batch(connection, owner)
    for finish in kept:
        if finish.health is not None:
            save_health(connection, finish.health)
        if finish.ordered and _lets_the_next_go(connection, finish):
            promote(connection, finish.tenant, finish.delivery_id, now)
        if finish.announcements:
            announcements.add(finish.announcements, now)
    announcements.write()


def save_health(connection: sqlite3.Connection, health: Any) -> None:  # noqa: ANN401 - LaneHealth
    """Overwrite what a lane remembers."""
    connection.execute(
        "INSERT OR REPLACE INTO lane_health VALUES (?, ?, ?, ?, ?)",
        (
            health.destination,
            health.failing_since,
            health.consecutive_failures,
            health.breaker_open,
            health.hold_until,
        ),
    )


def bucket_of(duration_ms: float) -> int:
    """The latency bucket b: the smallest with duration_ms <= 2**(b/2)."""
    return max(0, ceil(2 * log2(duration_ms))) if duration_ms > 1 else 0


def _write_states(connection: sqlite3.Connection, finishes: Sequence[Finish], now: int, owner: str) -> Sequence[Finish]:
    """The new states of those in hand, which it returns.

    Nearly always that is all of them, so only else are they asked one by one: RETURNING would cost every finish 10 %.
    """
    connection.execute("SAVEPOINT ends")
    before = connection.total_changes
    _update(connection, finishes, now, owner)
    if connection.total_changes - before < len(finishes):
        connection.execute("ROLLBACK TO ends")
        finishes = [finish for finish in finishes if _in_hand(connection, finish, owner)]
        _update(connection, finishes, now, owner)
    connection.execute("RELEASE ends")
    return finishes


def _update(connection: sqlite3.Connection, finishes: Sequence[Finish], now: int, owner: str) -> None:
    rows = [
        (
            f.tenant,
            f.delivery_id,
            f.status.value,
            f.reason,
            f.attempt.number,
            f.scheduled_count,
            f.due_at,
            f.manual,
            now,
            owner,
        )
        for f in finishes
    ]
    execute_many(connection, FINISH_BEFORE, "(?,?,?,?,?,?,?,?,?,?)", FINISH_AFTER, rows)


def _in_hand(connection: sqlite3.Connection, finish: Finish, owner: str) -> bool:
    statement = "SELECT 1 FROM deliveries WHERE tenant = ? AND id = ? AND owner = ?"
    return connection.execute(statement, (finish.tenant, finish.delivery_id, owner)).fetchone() is not None


def _insert_attempts(connection: sqlite3.Connection, finishes: Sequence[Finish]) -> None:
    rows = [
        (
            a.delivery,
            a.number,
            a.id,
            a.manual,
            a.started_at,
            a.duration_ms,
            a.outcome.value,
            a.status_code,
            a.error,
            a.response_headers,
            a.response_body,
            a.response_truncated,
            a.request_url,
        )
        for a in (finish.attempt for finish in finishes)
    ]
    execute_many(connection, INSERT_ATTEMPTS, "(?,?,?,?,?,?,?,?,?,?,?,?,?)", "", rows)


def _lets_the_next_go(connection: sqlite3.Connection, finish: Finish) -> bool:
    """Whether an ordered subject goes on. A manual retry that failed leaves a held head as it was."""
    statement = "SELECT status FROM deliveries WHERE tenant = ? AND id = ?"  # it may have been cancelled meanwhile
    status = connection.execute(statement, (finish.tenant, finish.delivery_id)).fetchone()[0]
    if status == "failed":
        return not (finish.hold or finish.manual)
    return status in ("delivered", "cancelled")


def _count(connection: sqlite3.Connection, finishes: Sequence[Finish]) -> None:
    counts: Counter[tuple[str, int, str, int]] = Counter()
    for finish in finishes:
        attempt = finish.attempt
        minute = attempt.started_at - attempt.started_at % MINUTE
        counts[finish.destination, minute, attempt.outcome.value, bucket_of(attempt.duration_ms)] += 1
    execute_many(
        connection,
        "INSERT INTO lane_stats (destination, minute_at, outcome, bucket, count)",
        "(?,?,?,?,?)",
        "ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(*place, count) for place, count in counts.items()],
    )


def _same_or_conflict(key: DedupeKey, event: Event, content_hash: bytes, index: int) -> None:
    if key.exact and event.content_hash != content_hash:
        raise _conflict(key, index)


def _conflict(key: DedupeKey, index: int) -> Conflict:
    name = "id" if key.scope == "id" else "Idempotency-Key"
    message = f"the {name} {key.key!r} was used before with other content; use a new one for a new event"
    return Conflict(message, (FieldError(f"events[{index}].{name}", message),))


def _again(first: Accepted) -> Accepted:
    return Accepted(
        event_id=first.event_id,
        public_id=first.public_id,
        time_at=first.time_at,
        received_at=first.received_at,
        duplicate=True,
        delivery_count=first.delivery_count,
    )
