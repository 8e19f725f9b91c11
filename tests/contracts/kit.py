"""What every test of the contract needs: a store at a place, a clock that stands, and short ways to say things."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from orderwire.clock import SECOND, ManualClock
from orderwire.ids import new_id
from orderwire.model import (
    DEFAULT_TENANT,
    Attempt,
    DedupeKey,
    Delivery,
    DeliveryStatus,
    Event,
    Outcome,
)
from orderwire.store.base import (
    Accepted,
    AcceptItem,
    DeliveryQuery,
    EventQuery,
    Finish,
    ReplayJob,
    Store,
    Target,
    Want,
    Work,
)
from tests.contracts.engines import Engine

LANE = "dst_a"
FIRST_AT = 1_700_000_000 * SECOND


class Kit:
    """One place, the store that is open there now, and the clock."""

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine, self.place = engine, place
        self.clock = ManualClock(FIRST_AT)
        self.store: Store = engine.make(place, self.clock)

    @property
    def now(self) -> int:
        return self.clock.now()

    async def reopen(self) -> None:
        await self.store.close()
        self.store = self.engine.make(self.place, self.clock)
        await self.store.open()

    # -- values ----------------------------------------------------------------------------------

    def event(
        self, type: str = "order.created", *, id: str | None = None, idem: str | None = None, **more: Any
    ) -> Event:
        """An event of now. `id`, `idem`: supplied by its publisher, with the keys that go with them."""
        keys = [
            DedupeKey(scope=scope, key=key, exact=True)
            for scope, key in (("id", id), ("idempotency", idem))
            if key is not None
        ]
        fields: dict[str, Any] = {
            "id": new_id("evt", self.now),
            "tenant": DEFAULT_TENANT,
            "type": type,
            "data": b'{"total": 10.10}',
            "time_at": self.now,
            "received_at": self.now,
            "supplied_id": id,
            "keys": tuple(keys),
        }
        fields |= more
        if fields["keys"] and "content_hash" not in more:
            said = (fields["type"], fields.get("subject"), fields["data"])
            fields["content_hash"] = sha256(repr(said).encode()).digest()[:16]
        return Event(**fields)

    def target(self, lane: str = LANE, **more: Any) -> Target:
        return Target(delivery_id=new_id("dlv", self.now), destination=lane, **more)

    def item(self, event: Event | None = None, *lanes: str, **more: Any) -> AcceptItem:
        """An event (a fresh one without `event`) for `lanes`; `more`: of each target."""
        return AcceptItem(event=event or self.event(), targets=tuple(self.target(lane, **more) for lane in lanes))

    def want(self, lane: str = LANE, limit: int = 1_000, **more: Any) -> Want:
        fields: dict[str, Any] = {"destination": lane, "tenant": DEFAULT_TENANT, "limit": limit} | more
        return Want(**fields)

    def ended(
        self,
        work: Work,
        status: DeliveryStatus = DeliveryStatus.DELIVERED,
        *,
        due_s: float | None = None,
        outcome: Outcome | None = None,
        duration_ms: float = 12.5,
        **more: Any,
    ) -> Finish:
        """The end of one attempt of `work`. A manual one that does not deliver leaves all as it was."""
        good = status is DeliveryStatus.DELIVERED
        as_before = work.manual and not good
        fields: dict[str, Any] = {
            "tenant": work.tenant,
            "delivery_id": work.delivery_id,
            "destination": work.destination,
            "status": work.status if as_before else status,
            "reason": work.reason if as_before else None if good else "rejected",
            "scheduled_count": work.scheduled_count + (not work.manual),
            "due_at": work.due_at if as_before else None if due_s is None else self.now + round(due_s * SECOND),
            "manual": work.manual,
            "ordered": work.ordered,
            "attempt": Attempt(
                id=new_id("att", self.now),
                delivery=work.delivery_id,
                number=work.attempt_count + 1,
                manual=work.manual,
                started_at=self.now,
                duration_ms=duration_ms,
                outcome=outcome or (Outcome.DELIVERED if good else Outcome.REJECTED),
                status_code=200 if good else 500,
                request_url="https://shop.example/hook",
            ),
        }
        return Finish(**fields | more)

    def job(self, lane: str = LANE, **more: Any) -> ReplayJob:
        fields: dict[str, Any] = {
            "id": new_id("rpl", self.now),
            "tenant": DEFAULT_TENANT,
            "destination": lane,
            "since": 0,
            "until": self.now + 1,
            "status": DeliveryStatus.FAILED,
            "types": (),
            "force": False,
            "ordered": False,
        }
        return ReplayJob(**fields | more)

    # -- acts ------------------------------------------------------------------------------------

    async def accept(self, *items: AcceptItem) -> list[Accepted]:
        return await self.store.accept(items, self.now)

    async def put(self, event: Event | None = None, *lanes: str, **more: Any) -> str:
        """Accept one event for `lanes` (LANE where none is named); its first delivery's id."""
        item = self.item(event, *(lanes or (LANE,)), **more)
        await self.accept(item)
        return item.targets[0].delivery_id

    async def put_many(self, count: int, *lanes: str, **more: Any) -> list[str]:
        """Accept `count` fresh events for each of `lanes`; the deliveries' ids, oldest first."""
        items = [self.item(None, *(lanes or (LANE,)), **more) for _ in range(count)]
        for start in range(0, count, 500):
            await self.accept(*items[start : start + 500])
        return [target.delivery_id for item in items for target in item.targets]

    async def claim(self, lane: str = LANE, limit: int = 1_000, **more: Any) -> list[Work]:
        return (await self.store.claim([self.want(lane, limit, **more)], self.now)).works

    async def finish(self, works: Sequence[Work] | Work, *status: DeliveryStatus, **more: Any) -> None:
        several = [works] if isinstance(works, Work) else works
        await self.store.finish([self.ended(work, *status, **more) for work in several], self.now)

    async def fail_all(self, lane: str = LANE) -> list[Work]:
        """Claim and fail for good whatever waits."""
        works = await self.claim(lane)
        await self.finish(works, DeliveryStatus.FAILED)
        return works

    async def delivery(self, delivery_id: str, tenant: str = DEFAULT_TENANT) -> Delivery:
        found = await self.store.get_delivery(tenant, delivery_id)
        assert found is not None
        return found

    async def events(self, **filters: Any) -> list[Event]:
        """Every page of a list."""
        asked: dict[str, Any] = {"tenant": DEFAULT_TENANT, "limit": 250} | filters
        query, rows = EventQuery(**asked), list[Event]()
        while True:
            page = await self.store.list_events(query)
            rows += page.rows
            if page.next_id is None:
                return rows
            query = msgspec.structs.replace(query, before_id=page.next_id)

    async def deliveries(self, **filters: Any) -> list[Delivery]:
        """Every page of a list."""
        asked: dict[str, Any] = {"tenant": DEFAULT_TENANT, "limit": 250} | filters
        query, rows = DeliveryQuery(**asked), list[Delivery]()
        while True:
            page = await self.store.list_deliveries(query)
            rows += page.rows
            if page.next_id is None:
                return rows
            query = msgspec.structs.replace(query, before_id=page.next_id)

    async def replayed(self, limit: int = 200) -> list[ReplayJob]:
        """Work all bulk replays off; the jobs as last seen."""
        seen: dict[str, ReplayJob] = {}
        while jobs := await self.store.step_replays(limit, self.now):
            seen |= {job.id: job for job in jobs}
        return list(seen.values())


def ids(works: Sequence[Work]) -> list[str]:
    return [work.delivery_id for work in works]
