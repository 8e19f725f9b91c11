"""Deliveries and attempts: what was sent where and how it went; try again now, stop trying."""

from orderwire.clock import Clock
from orderwire.errors import Conflict, NotFound
from orderwire.model import Attempt, Delivery, DeliveryStatus
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.ports import Dispatcher
from orderwire.store.base import DeliveryQuery, Page, Store

CANCELLED_BY_HAND = "cancelled_by_hand"


class Deliveries:
    """Every verb on deliveries."""

    def __init__(self, store: Store, configuration: Configuration, clock: Clock, dispatcher: Dispatcher) -> None:
        self._store, self._configuration, self._clock = store, configuration, clock
        self._dispatcher = dispatcher

    async def get(self, caller: Caller, delivery_id: str) -> Delivery:
        """One of the caller's tenant."""
        caller.ask("delivery.get")
        return _found(await self._store.get_delivery(caller.tenant, delivery_id), delivery_id)

    async def list(self, caller: Caller, query: DeliveryQuery) -> Page[Delivery]:
        """Newest first; `query.tenant` is the caller's."""
        caller.ask("delivery.list")
        return await self._store.list_deliveries(query)

    async def attempts(self, caller: Caller, delivery_id: str, limit: int, before_number: int | None) -> Page[Attempt]:
        """Newest first."""
        caller.ask("delivery.attempts")
        _found(await self._store.get_delivery(caller.tenant, delivery_id), delivery_id)
        rows = await self._store.list_attempts(caller.tenant, delivery_id, limit + 1, before_number)
        shown = tuple(rows[:limit])
        return Page(rows=shown, next_id=str(shown[-1].number) if len(rows) > limit else None)

    async def retry(self, caller: Caller, delivery_id: str) -> Delivery:
        """One attempt now; the automatic schedule stays as it was. Conflict where its destination is gone."""
        caller.ask("delivery.retry")
        delivery = _found(await self._store.get_delivery(caller.tenant, delivery_id), delivery_id)
        if self._configuration.destination(caller.tenant, delivery.destination) is None:
            raise Conflict(f"destination {delivery.destination} was deleted; there is nowhere to send to")
        now = self._clock.now()
        asked = _found(await self._store.request_retry(caller.tenant, delivery_id, now), delivery_id)
        await self._store.append_audit(caller.entry("delivery.retry", delivery_id, now))
        self._dispatcher.wake(delivery.destination)
        return asked

    async def cancel(self, caller: Caller, delivery_id: str) -> Delivery:
        """Stop trying. Conflict where it is delivered or failed already; again is the same as once."""
        caller.ask("delivery.cancel")
        now = self._clock.now()
        delivery = _found(await self._store.cancel(caller.tenant, delivery_id, CANCELLED_BY_HAND, now), delivery_id)
        if delivery.status is not DeliveryStatus.CANCELLED:
            raise Conflict(f"delivery {delivery_id} is {delivery.status} already")
        self._dispatcher.recall(delivery.destination, delivery_id)
        await self._store.append_audit(caller.entry("delivery.cancel", delivery_id, now))
        return delivery


def _found(delivery: Delivery | None, delivery_id: str) -> Delivery:
    if delivery is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return delivery
