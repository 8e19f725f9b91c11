"""Events that were accepted: found, read, sent again."""

import asyncio

from orderwire.clock import Clock
from orderwire.errors import Invalid, NotFound
from orderwire.ids import new_id
from orderwire.model import Delivery, Destination, Event, Ordering, RawBody
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.ports import Dispatcher
from orderwire.service.specs import ReplaySpec
from orderwire.store.base import PAGE_MAX, DeliveryQuery, EventQuery, Page, Store, Target

TARGETS_STEP = 500  # deliveries written in one transaction (DECISIONS.md 9)
REPLAY = "replay"
SEARCHES_MAX = 2  # by text at once: each reads for a while, and lists must not wait for all of them


class Reading:
    """Every verb on events but publishing."""

    def __init__(self, store: Store, configuration: Configuration, clock: Clock, dispatcher: Dispatcher) -> None:
        self._store, self._configuration, self._clock = store, configuration, clock
        self._dispatcher = dispatcher
        self._searches = asyncio.Semaphore(SEARCHES_MAX)

    async def list(self, caller: Caller, query: EventQuery) -> Page[Event]:
        """Newest first; `query.tenant` is the caller's."""
        caller.ask("event.list")
        if query.text is None:
            return await self._store.list_events(query)
        async with self._searches:
            return await self._store.list_events(query)

    async def get(self, caller: Caller, public_id: str) -> tuple[Event, tuple[Delivery, ...]]:
        """An event and its latest deliveries, at most PAGE_MAX of them."""
        caller.ask("event.get")
        event = await self._get(caller, public_id)
        query = DeliveryQuery(tenant=caller.tenant, event=public_id, limit=PAGE_MAX)
        return event, (await self._store.list_deliveries(query)).rows

    async def raw(self, caller: Caller, public_id: str) -> RawBody:
        """What the provider sent, byte for byte. NotFound where the event was published, not received."""
        caller.ask("event.get")
        event = await self._get(caller, public_id)
        raw = await self._store.get_raw(caller.tenant, event.id)
        if raw is None:
            raise NotFound(f"event {public_id} has no original body: it did not come from a source")
        return raw

    async def replay(self, caller: Caller, public_id: str, spec: ReplaySpec) -> int:
        """New deliveries of the same event, to one destination or to all that want it; how many."""
        caller.ask("event.replay")
        event = await self._get(caller, public_id)
        destinations = self._targets(caller, event, spec)
        now = self._clock.now()
        made = 0
        for start in range(0, len(destinations), TARGETS_STEP):
            chunk = destinations[start : start + TARGETS_STEP]
            made += await self._store.replay(caller.tenant, event.id, [_target(one, now) for one in chunk], now)
            for destination in chunk:
                self._dispatcher.wake(destination.id)
        await self._store.append_audit(caller.entry("event.replay", event.id, now, f"{made} deliveries"))
        return made

    def _targets(self, caller: Caller, event: Event, spec: ReplaySpec) -> tuple[Destination, ...]:
        if spec.destination is None:
            return self._configuration.wanting(event)
        destination = self._configuration.destination(caller.tenant, spec.destination)
        if destination is None:
            raise Invalid.field("destination", f"there is no destination {spec.destination}")
        return (destination,)

    async def _get(self, caller: Caller, public_id: str) -> Event:
        event = await self._store.get_event(caller.tenant, public_id)
        if event is None:
            raise NotFound(f"there is no event {public_id}")
        return event


def _target(destination: Destination, now: int) -> Target:
    return Target(
        delivery_id=new_id("dlv", now),
        destination=destination.id,
        ordered=destination.ordering is Ordering.SUBJECT,
        reason=REPLAY,
    )
