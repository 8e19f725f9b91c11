"""Tenants never see each other: for every verb that takes a tenant, another tenant's row is simply not there."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orderwire.errors import NotFound
from orderwire.model import DeliveryStatus, RawBody
from orderwire.store.base import DeliveryQuery, EventQuery, Page
from tests.contracts.kit import Kit

OTHER = "other"
Ask = Callable[[Kit, str, str], Awaitable[Any]]  # kit, event id, delivery id

READS: dict[str, Ask] = {
    "get_event": lambda kit, event, _: kit.store.get_event(OTHER, event),
    "get_event by supplied id": lambda kit, *_: kit.store.get_event(OTHER, "mine"),
    "get_raw": lambda kit, event, _: kit.store.get_raw(OTHER, event),
    "get_delivery": lambda kit, _, delivery: kit.store.get_delivery(OTHER, delivery),
    "list_events": lambda kit, *_: kit.store.list_events(EventQuery(tenant=OTHER)),
    "list_events by subject": lambda kit, *_: kit.store.list_events(EventQuery(tenant=OTHER, subject="order/1")),
    "list_events by id": lambda kit, event, _: kit.store.list_events(EventQuery(tenant=OTHER, text=event)),
    "list_events by text": lambda kit, *_: kit.store.list_events(EventQuery(tenant=OTHER, text="total")),
    "list_events by type": lambda kit, *_: kit.store.list_events(EventQuery(tenant=OTHER, type="order.*")),
    "list_deliveries": lambda kit, *_: kit.store.list_deliveries(DeliveryQuery(tenant=OTHER)),
    "list_deliveries by lane": lambda kit, *_: kit.store.list_deliveries(
        DeliveryQuery(tenant=OTHER, destination="dst_a")
    ),
    "list_deliveries by event": lambda kit, *_: kit.store.list_deliveries(DeliveryQuery(tenant=OTHER, event="mine")),
    "list_deliveries by status": lambda kit, *_: kit.store.list_deliveries(
        DeliveryQuery(tenant=OTHER, status=DeliveryStatus.FAILED)
    ),
    "list_attempts": lambda kit, _, delivery: kit.store.list_attempts(OTHER, delivery, 10, None),
    "list_audit": lambda kit, *_: kit.store.list_audit(OTHER, 10, None),
}

CHANGES: dict[str, Ask] = {
    "request_retry": lambda kit, _, delivery: kit.store.request_retry(OTHER, delivery, kit.now),
    "cancel": lambda kit, _, delivery: kit.store.cancel(OTHER, delivery, "x", kit.now),
    "delete_config": lambda kit, *_: kit.store.delete_config("destination", OTHER, "dst_a", None),
}


@pytest.fixture
async def owned(kit: Kit) -> tuple[Kit, str, str]:
    """A failed delivery of the default tenant, with everything that can be read of it."""
    raw = RawBody(content_type="text/plain", headers="{}", body=b"x")
    event = kit.event(id="mine", subject="order/1", raw=raw)
    delivery = await kit.put(event)
    await kit.fail_all()
    return kit, event.id, delivery


@pytest.mark.parametrize("ask", READS.values(), ids=READS)
async def test_another_tenant_reads_nothing(owned: tuple[Kit, str, str], ask: Ask) -> None:
    assert await ask(*owned) in (None, [], Page(rows=(), next_id=None))


@pytest.mark.parametrize("ask", CHANGES.values(), ids=CHANGES)
async def test_another_tenant_changes_nothing(owned: tuple[Kit, str, str], ask: Ask) -> None:
    kit, _, delivery = owned
    before = await kit.delivery(delivery)
    assert await ask(*owned) in (None, False)
    assert await kit.delivery(delivery) == before
    assert await kit.claim() == []


async def test_another_tenant_replays_nothing(owned: tuple[Kit, str, str]) -> None:
    kit, event_id, _ = owned
    with pytest.raises(NotFound):
        await kit.store.replay(OTHER, event_id, [kit.target("dst_o")], kit.now)
    assert (await kit.store.create_replay(kit.job(tenant=OTHER, status=None), kit.now)).count == 0
    assert [job.made for job in await kit.replayed()] == [0]


async def test_another_tenant_prunes_nothing(owned: tuple[Kit, str, str]) -> None:
    kit, event_id, _ = owned
    kit.clock.advance(10**7)
    step = await kit.store.prune(OTHER, kit.now, 100, kit.now)
    assert (step.events, step.expired, step.more) == (0, 0, False)
    assert await kit.store.get_event("default", "mine") is not None
    assert await kit.store.get_raw("default", event_id) is not None


async def test_another_tenants_work_cannot_be_finished_or_released(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    end = kit.ended(work, DeliveryStatus.FAILED, tenant=OTHER)
    await kit.store.finish([end], kit.now)
    assert (await kit.delivery(delivery)).status is DeliveryStatus.PENDING
    assert await kit.store.list_attempts("default", delivery, 10, None) == []
    assert await kit.claim() == []
