"""Accepting events: the one way in for publishers, providers and the node's own announcements.

`accept` is the whole story: make the events, route them, keep them, begin what is owned. It answers only after
events and deliveries are committed and synced to disk.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from orderwire.clock import SECOND, Clock
from orderwire.errors import Conflict, FieldError, Invalid, OrderwireError, Unavailable
from orderwire.ids import new_id
from orderwire.ingest.publish import PublishRequest
from orderwire.model import DedupeKey, Destination, Event, Ordering
from orderwire.observe.live import Happening, Live
from orderwire.service.configuration import Configuration
from orderwire.service.event_types import EventTypes
from orderwire.store.base import Accepted, AcceptItem, Store, Target

FANOUT_DIRECT_MAX = 500  # deliveries written in the accept's own transaction (DECISIONS.md 9)
WAITING_ACCEPTS_MAX = 10_000  # requests waiting for their commit; beyond, 503 instead of memory
IDEMPOTENCY_KEY_CHARS_MAX = 255
LARGE_BYTES = 16 * 1024


class Lanes(Protocol):
    """What accepting needs of the dispatcher."""

    def reserve(self, destination: Destination, size: int) -> bool:
        """Whether the delivery will be sent from memory."""
        ...

    def drop(self, destination_id: str, size: int) -> None:
        """It was not committed as owned."""
        ...

    def begin(self, event: Event, targets: Sequence[Target], not_owned: frozenset[str]) -> None:
        """It is committed."""
        ...

    def fan_out(self) -> None:
        """A fan-out is committed."""
        ...


class Events:
    """Publishes and receives. Everything that becomes an event passes `accept`."""

    def __init__(
        self,
        store: Store,
        configuration: Configuration,
        event_types: EventTypes,
        lanes: Lanes,
        live: Live,
        clock: Clock,
    ) -> None:
        """Wired once, in wiring.py."""
        self._store = store
        self._configuration = configuration
        self._event_types = event_types
        self._lanes = lanes
        self._live = live
        self._clock = clock
        self._waiting = 0

    async def publish(
        self,
        tenant: str,
        requests: Sequence[PublishRequest],
        idempotency_key: str | None = None,
        *,
        batch: bool = False,
    ) -> list[tuple[Event, Accepted]]:
        """Keep what a publisher sent, all or none.

        Raises Invalid and Conflict (of a batch they name `events[i]`), and Unavailable.
        """
        now = self._clock.now()
        events: list[Event] = []
        pinned: list[Destination | None] = []
        for index, request in enumerate(requests):
            path = f"events[{index}]." if batch else ""
            pinned.append(None if request.destination is None else self._pinned(tenant, request.destination, path))
            events.append(self._event(tenant, request, _item_key(idempotency_key, index, batch=batch), now))
            self._check_type(events[-1], path)
            if batch and len(request.data) > LARGE_BYTES:
                await asyncio.sleep(0)  # checking it may have taken a while: others' turn
        try:
            return await self.accept(events, pinned, now)
        except Conflict as refusal:
            raise refusal if batch else Conflict(refusal.detail, _unnumbered(refusal.errors)) from None

    async def announce(self, tenant: str, event_type: str, subject: str, data: object) -> None:
        """Publish an operational event of the node's own."""
        now = self._clock.now()
        event = self.operational(tenant, event_type, subject, data, now)
        await self.accept([event], [None], now)

    def operational(self, tenant: str, event_type: str, subject: str, data: object, now: int) -> Event:
        """An `orderwire.*` event, not yet kept."""
        return Event(
            id=new_id("evt", now),
            tenant=tenant,
            type=event_type,
            data=msgspec.json.encode(data),
            time_at=now,
            received_at=now,
            subject=subject,
        )

    async def accept(
        self, events: Sequence[Event], pinned: Sequence[Destination | None], now: int
    ) -> list[tuple[Event, Accepted]]:
        """Route, keep, begin. `pinned[i]`: the one destination an event is for, whatever its types."""
        if self._waiting >= WAITING_ACCEPTS_MAX:
            detail = "too many requests wait to be written; try again"
            raise Unavailable(detail, retry_after_s=1)
        items = [self.route(event, destination) for event, destination in zip(events, pinned, strict=True)]
        self._waiting += 1
        try:
            accepted = await self._store.accept(items, now)
        except (OrderwireError, asyncio.CancelledError):  # the store gives up what nobody waits for
            for item in items:
                self._drop(item)
            raise
        finally:
            self._waiting -= 1
        for item, answer in zip(items, accepted, strict=True):
            self._begin(item, answer)
        return list(zip(events, accepted, strict=True))

    def route(self, event: Event, pinned: Destination | None = None, *, own: bool = True) -> AcceptItem:
        """The deliveries an event brings: to the destinations that want it, or the one it is pinned to."""
        if pinned is not None:
            wanted: tuple[Destination, ...] = (pinned,)
        else:
            wanted = self._configuration.wanting(event)
        return AcceptItem(
            event=event,
            targets=tuple([self._target(event, destination, own=own) for destination in wanted[:FANOUT_DIRECT_MAX]]),
            fanout=tuple([(rest.id, rest.ordering is Ordering.SUBJECT) for rest in wanted[FANOUT_DIRECT_MAX:]]),
        )

    def _target(self, event: Event, destination: Destination, *, own: bool) -> Target:
        delay_s = destination.retry.schedule_s[0]
        return Target(
            delivery_id=new_id("dlv", event.received_at),
            destination=destination.id,
            owned=own and not delay_s and self._lanes.reserve(destination, len(event.data)),
            due_at=event.received_at + round(delay_s * SECOND) if delay_s else None,
            ordered=destination.ordering is Ordering.SUBJECT,
        )

    def _begin(self, item: AcceptItem, answer: Accepted) -> None:
        if answer.duplicate:
            self._drop(item)
            return
        if item.targets:
            self._lanes.begin(item.event, item.targets, answer.not_owned)
        if item.fanout:
            self._lanes.fan_out()
        if self._live.watched(item.event.tenant):
            self._live.tell(item.event.tenant, Happening("event", item.event.type, item.event))

    def _drop(self, item: AcceptItem) -> None:
        for target in item.targets:
            if target.owned:
                self._lanes.drop(target.destination, len(item.event.data))

    def _event(self, tenant: str, request: PublishRequest, idempotency_key: str | None, now: int) -> Event:
        keys: tuple[DedupeKey, ...] = ()
        content_hash = b""
        if request.id is not None or idempotency_key is not None:
            keys = tuple(
                DedupeKey(scope=scope, key=key, exact=True)
                for scope, key in (("id", request.id), ("idempotency", idempotency_key))
                if key is not None
            )
            content_hash = _content_hash(request)
        return Event(
            id=new_id("evt", now),
            tenant=tenant,
            type=request.type,
            data=request.data,
            time_at=now if request.time_at is None else request.time_at,
            received_at=now,
            subject=request.subject,
            supplied_id=request.id,
            keys=keys,
            content_hash=content_hash,
        )

    def _pinned(self, tenant: str, destination_id: str, path: str) -> Destination:
        destination = self._configuration.destination(tenant, destination_id)
        if destination is None:
            raise Invalid.field(f"{path}destination", "no such destination")
        return destination

    def _check_type(self, event: Event, path: str) -> None:
        """Hold data to its type's JSON Schema where the catalogue says strict."""
        problems = self._event_types.problems(event.tenant, event.type, event.data)
        if problems:
            errors = tuple(FieldError(f"{path}data{problem.path}", problem.message) for problem in problems)
            detail = f"data does not match the schema of {event.type}"
            raise Invalid(detail, errors)


def _item_key(key: str | None, index: int, *, batch: bool) -> str | None:
    """An Idempotency-Key of a batch covers each of its events by position."""
    return f"{key}/{index}" if batch and key is not None else key


def _unnumbered(errors: tuple[FieldError, ...]) -> tuple[FieldError, ...]:
    """Fields of the only event there is."""
    return tuple(FieldError(error.path.removeprefix("events[0]."), error.message) for error in errors)


def _content_hash(request: PublishRequest) -> bytes:
    """What "the same content" means: type, subject, time as supplied, and the data bytes."""
    parts = (request.type, request.subject or "", str(request.time_at or ""))
    digest = sha256("\x00".join(parts).encode() + b"\x00" + request.data)
    return digest.digest()[:16]
