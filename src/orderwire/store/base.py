"""The one seam to disk: every verb with its promise.

Two engines keep these promises (SQLite for one node, PostgreSQL for many) and one suite holds them equal:
`tests/contracts/`. Every verb is async, takes the present instant where it needs one (`now`, microseconds), and
takes the tenant wherever a tenant's rows are read or changed: another tenant's row is simply not there.

Errors every verb may raise: `Unavailable` (disk full, database away): nothing of the call was written.
Writes that return have been committed and synced to disk.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from orderwire.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Event,
    LaneHealth,
    RawBody,
    Value,
)

T = TypeVar("T")

PAGE_MAX = 250
SCAN_ROWS_MAX = 20_000  # rows one list call reads at the most, whatever its filters


class Target(Value, frozen=True, kw_only=True):
    """One delivery to write with an event. `owned`: this node sends it from memory.

    `due_at`: when its first attempt is due; None: at once. A follower of an ordered subject is due with its turn.
    """

    delivery_id: str
    destination: str
    owned: bool = False
    ordered: bool = False
    due_at: int | None = None
    reason: str | None = None  # "replay", "test", ... shown in the log until it finishes


class AcceptItem(Value, frozen=True, kw_only=True):
    """An event with the deliveries that go with it, all or nothing.

    `fanout`: further (destination, ordered) beyond what one transaction should write (DECISIONS.md 9).
    """

    event: Event
    targets: tuple[Target, ...] = ()
    fanout: tuple[tuple[str, bool], ...] = ()


class Accepted(Value, frozen=True, kw_only=True):
    """What became of an item. A duplicate shows the first event's facts and writes nothing.

    `not_owned`: ids of deliveries asked as owned that must wait (an ordered subject with a head before them).
    """

    event_id: str
    public_id: str
    time_at: int
    received_at: int
    duplicate: bool
    delivery_count: int
    not_owned: frozenset[str] = frozenset()


class Work(Value, frozen=True, kw_only=True):
    """A claimed delivery with all that sending needs. Until it is finished or released nobody else has it.

    `manual`: asked for by a person; costs nothing of the schedule. `status` and `due_at` are as before the claim.
    """

    delivery_id: str
    tenant: str
    destination: str
    event: Event
    attempt_count: int = 0  # attempts made so far, manual ones counted
    scheduled_count: int = 0  # of these, how many the schedule spent
    status: DeliveryStatus = DeliveryStatus.PENDING
    due_at: int | None = None
    manual: bool = False
    ordered: bool = False
    reason: str | None = None


class Want(Value, frozen=True, kw_only=True):
    """A lane with room: how many deliveries it would take now."""

    destination: str
    tenant: str
    limit: int
    ordered: bool = False


class LaneDue(Value, frozen=True, kw_only=True):
    """A lane with unowned deliveries waiting, and when its first is due."""

    destination: str
    due_at: int


class Claimed(Value, frozen=True, kw_only=True):
    """What a claim got, and for each asked lane that still has something waiting, when that is due."""

    works: list[Work]
    due: list[LaneDue]


class Finish(Value, frozen=True, kw_only=True):
    """The end of one attempt: the attempt's row and the delivery's new state, written together.

    `due_at`: when to try again (unfinished states only). `hold`: an ordered subject stays behind this failed head.
    `announcements`: operational events that commit with it.
    """

    tenant: str
    delivery_id: str
    destination: str
    status: DeliveryStatus
    reason: str | None
    scheduled_count: int
    due_at: int | None
    attempt: Attempt
    manual: bool = False
    ordered: bool = False
    hold: bool = False
    health: LaneHealth | None = None
    announcements: tuple[AcceptItem, ...] = ()


class EventQuery(Value, frozen=True, kw_only=True):
    """Filters of the event list; all of them must hold. `type` may end in `.*` (any depth) or be `*`."""

    tenant: str
    limit: int = 50
    before_id: str | None = None  # the cursor: events older than this id
    type: str | None = None
    subject: str | None = None
    source: str | None = None
    status: DeliveryStatus | None = None  # of any of its deliveries
    text: str | None = None  # in ids, subject, provider's id; else payloads
    since: int | None = None
    until: int | None = None


class DeliveryQuery(Value, frozen=True, kw_only=True):
    """Filters of the delivery list; all of them must hold."""

    tenant: str
    limit: int = 50
    before_id: str | None = None
    destination: str | None = None
    event: str | None = None  # public id
    status: DeliveryStatus | None = None
    type: str | None = None
    since: int | None = None
    until: int | None = None


class Page(Value, Generic[T], frozen=True, kw_only=True):
    """Newest first. `next_id` continues; a page may be short, even empty, and still have one."""

    rows: tuple[T, ...]
    next_id: str | None


class ConfigRow(Value, frozen=True, kw_only=True):
    """A configured thing (tenant, key, source, destination, event type) as its JSON text, secrets sealed.

    `version` rises by one with each write of the row; writing names the version it read.
    """

    kind: str
    tenant: str
    id: str
    body: bytes
    version: int


class AuditEntry(Value, frozen=True, kw_only=True):
    """Who changed or saw what. Never holds a secret."""

    id: str
    tenant: str
    at: int
    actor: str  # key id
    action: str  # "destination.create", "secret.read", ...
    resource: str
    detail: str = ""


class ReplayJob(Value, frozen=True, kw_only=True):
    """A bulk replay: stored, worked off in bounded steps, resumed after a crash."""

    id: str
    tenant: str
    destination: str
    since: int
    until: int
    status: DeliveryStatus | None
    types: tuple[str, ...]
    force: bool
    ordered: bool
    count: int = 0  # how many it chose to make when it was asked
    made: int = 0
    finished: bool = False


class StatRow(Value, frozen=True, kw_only=True):
    """Attempts of one destination in one minute with one outcome, whose latency fell in one bucket.

    `bucket` b holds durations up to 2**(b/2) ms.
    """

    minute_at: int
    outcome: str
    bucket: int
    count: int


class Pruned(Value, frozen=True, kw_only=True):
    """What one bounded step of retention did. `more`: call again at once.

    `left`: old events stay for now, as deliveries of theirs are in hand: call again when those have ended.
    """

    events: int = 0
    expired: int = 0
    keys: int = 0
    more: bool = False
    left: bool = False


class Store(Protocol):
    """The verbs. Life, hot path, reading, changing deliveries, configuration, jobs, upkeep."""

    # -- life ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open, migrate, and make everything that a former process of this node owned claimable at once.

        Raises OrderwireError where another process has it, or a newer version wrote it.
        """
        ...

    async def close(self) -> None:
        """Finish what was submitted, then close. Idempotent."""
        ...

    async def ping(self) -> None:
        """Raises Unavailable where a write could not be made now."""
        ...

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """A consistent copy at `target` while running; `progress(done, total)` in pages.

        Raises OrderwireError where it exists or cannot be written.
        """
        ...

    # -- the hot path ----------------------------------------------------------------------------

    async def accept(self, items: Sequence[AcceptItem], now: int) -> list[Accepted]:
        """Keep events and their deliveries, all of `items` or none; answers in their order.

        Concurrent calls share one commit. An event whose dedupe key is known is a duplicate (nothing is written
        for it), or, where the key is `exact` and the content hash differs, raises Conflict naming `events[i]`.
        Ordered targets get the next number of their (destination, subject); only a head may be owned.
        """
        ...

    async def finish(self, finishes: Sequence[Finish], now: int) -> None:
        """Write attempts and new states, give up ownership, promote the next of an ordered subject.

        A delivery cancelled meanwhile stays cancelled unless this attempt delivered it.
        """
        ...

    async def claim(self, wants: Sequence[Want], now: int) -> Claimed:
        """Own up to `limit` due deliveries for each lane, oldest due first, manual retries before them."""
        ...

    async def release(self, works: Sequence[Work], now: int) -> None:
        """Give claimed deliveries back untouched; they are claimable at once."""
        ...

    async def due_lanes(self) -> list[LaneDue]:
        """Every lane with unowned waiting deliveries, in time proportional to the lanes, not to the rows."""
        ...

    # -- reading ---------------------------------------------------------------------------------

    async def get_event(self, tenant: str, public_id: str) -> Event | None:
        """An event by the id users see (without its raw body)."""
        ...

    async def get_raw(self, tenant: str, event_id: str) -> RawBody | None:
        """The original bytes of a source's event (`event_id`: ours)."""
        ...

    async def list_events(self, query: EventQuery) -> Page[Event]:
        """Newest first; reads at most SCAN_ROWS_MAX rows."""
        ...

    async def get_delivery(self, tenant: str, delivery_id: str) -> Delivery | None:
        """One delivery."""
        ...

    async def list_deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """Newest first; reads at most SCAN_ROWS_MAX rows."""
        ...

    async def list_attempts(
        self, tenant: str, delivery_id: str, limit: int, before_number: int | None
    ) -> list[Attempt]:
        """Newest first."""
        ...

    async def lane_stats(self, destination: str, since: int, until: int) -> list[StatRow]:
        """The minutes of one destination, oldest first."""
        ...

    async def waiting_count(self, destination: str, limit: int) -> int:
        """How many deliveries of a lane are unfinished, counted up to `limit`."""
        ...

    # -- changing deliveries ---------------------------------------------------------------------

    async def request_retry(self, tenant: str, delivery_id: str, now: int) -> Delivery | None:
        """Ask for one attempt now. The automatic schedule stays. None where there is no such delivery."""
        ...

    async def cancel(self, tenant: str, delivery_id: str, reason: str, now: int) -> Delivery | None:
        """Stop trying; no effect on a finished delivery. The next of an ordered subject is promoted."""
        ...

    async def cancel_lane(self, destination: str, reason: str, limit: int, now: int) -> int:
        """Cancel up to `limit` unfinished deliveries of a deleted destination; how many it did."""
        ...

    async def replay(self, tenant: str, event_id: str, targets: Sequence[Target], now: int) -> int:
        """New deliveries of a kept event (`event_id`: ours); how many were made. NotFound where there is no event."""
        ...

    # -- configuration ---------------------------------------------------------------------------

    async def load_config(self) -> list[ConfigRow]:
        """All of it: a node keeps it in memory."""
        ...

    async def save_config(self, row: ConfigRow, audit: AuditEntry | None) -> bool:
        """Write a row whose `version` is one above the stored one (1: it must not exist yet). False: lost a race."""
        ...

    async def delete_config(self, kind: str, tenant: str, row_id: str, audit: AuditEntry | None) -> bool:
        """Remove a row; False where it was not there."""
        ...

    async def append_audit(self, entry: AuditEntry) -> None:
        """Note an act that changed no row, as the reading of a secret."""
        ...

    async def list_audit(self, tenant: str, limit: int, before_id: str | None) -> list[AuditEntry]:
        """Newest first."""
        ...

    async def load_lane_health(self) -> list[LaneHealth]:
        """What lanes remembered at the last stop."""
        ...

    async def save_lane_health(self, health: LaneHealth) -> None:
        """Overwrite one lane's memory (a person resumed it)."""
        ...

    # -- jobs ------------------------------------------------------------------------------------

    async def create_replay(self, job: ReplayJob, now: int) -> ReplayJob:
        """Store a bulk replay; the answer has its `count`."""
        ...

    async def step_replays(self, limit: int, now: int) -> list[ReplayJob]:
        """Make up to `limit` deliveries of the oldest unfinished job, in one transaction with its cursor.

        Chooses by each event's latest delivery to the destination and skips events with an unfinished one, so that
        each is made exactly once however often this is called, by however many. [] when no job is unfinished.
        """
        ...

    async def step_fanouts(self, limit: int, now: int) -> list[str]:
        """Write up to `limit` deliveries that an accept left to the fan-out cursor; the lanes that got some."""
        ...

    # -- upkeep ----------------------------------------------------------------------------------

    async def prune(self, tenant: str, before: int, limit: int, now: int) -> Pruned:
        """Drop up to `limit` events received before `before`, with deliveries, attempts, keys and raw bodies.

        An unfinished delivery of theirs becomes failed (`expired`) in a step of its own and goes with the next. An
        event with a delivery in hand stays whole.
        """
        ...
