"""Configuration: written through the store, raced by others, sealed, remembered."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from orderwire.clock import ManualClock
from orderwire.crypto import SecretBox
from orderwire.errors import Conflict, NotFound, OrderwireError
from orderwire.model import ApiKey, Destination, Event, Role, Secret, Source, Tenant
from orderwire.service.configuration import Configuration, hash_key
from orderwire.service.tables import Configured
from orderwire.store.sqlite import SqliteStore

OLD, NEW = bytes(32), bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "o.db", clock)
    await opened.open()
    yield opened
    await opened.close()


async def loaded(store: SqliteStore, clock: ManualClock, *keys: bytes) -> Configuration:
    configuration = Configuration(store, SecretBox(list(keys) or [OLD]), clock, "ow_admin")
    await configuration.load()
    return configuration


def destination(number: int = 1, tenant: str = "default", events: tuple[str, ...] = ("*",)) -> Destination:
    return Destination(
        id=f"dst_{number:032x}",
        tenant=tenant,
        kind="webhook",
        name=str(number),
        events=events,
        config={"url": "https://example.com", "auth": {"bearer": "hidden"}, "headers": {"x-token": "hidden"}},
        secrets=(Secret(value="whsec_hidden", created_at=1),),
        created_at=number,
        updated_at=number,
    )


def event(event_type: str, data: bytes = b"{}", tenant: str = "default") -> Event:
    return Event(id="evt_1", tenant=tenant, type=event_type, data=data, time_at=1, received_at=1)


async def test_the_default_tenant_and_the_settings_key_are_always_there(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    assert configuration.tenant("default") is not None
    key = configuration.key_by_hash(hash_key("ow_admin"))
    assert key is not None
    assert key.role is Role.ADMIN
    assert list(configuration.keys) == []
    assert configuration.key_by_hash(hash_key("ow_other")) is None
    again = await loaded(store, clock)
    assert again.tenant("default") == configuration.tenant("default")


async def test_every_secret_is_sealed_and_opens_again(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    kept = await configuration.create(configuration.destinations, destination(), None)
    source = Source(
        id="src_1", tenant="default", kind="x", name="x", secrets=("hidden",), config={}, created_at=1, updated_at=1
    )
    await configuration.create(configuration.sources, source, None)
    assert not any(b"hidden" in row.body for row in await store.load_config())
    again = await loaded(store, clock)
    assert again.destination("default", kept.id) == kept
    assert again.source_by_id("src_1") == source


async def test_a_new_sealing_key_opens_what_the_old_one_sealed(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock, OLD)
    kept = await configuration.create(configuration.destinations, destination(), None)
    assert (await loaded(store, clock, NEW, OLD)).destination("default", kept.id) == kept
    with pytest.raises(OrderwireError, match="ORDERWIRE_SECRET_KEY"):
        await loaded(store, clock, NEW)


async def test_who_loses_a_race_applies_its_change_to_what_it_finds(store: SqliteStore, clock: ManualClock) -> None:
    one, other = await loaded(store, clock), await loaded(store, clock)
    place = ("default", destination().id)
    await one.create(one.destinations, destination(), None)
    await other.load()
    await one.change(one.destinations, place, lambda d: msgspec.structs.replace(d, name="renamed"), None)
    changed = await other.change(other.destinations, place, lambda d: msgspec.structs.replace(d, concurrency=3), None)
    assert (changed.name, changed.concurrency) == ("renamed", 3)
    with pytest.raises(Conflict):
        await other.create(other.destinations, destination(), None)
    await one.delete(one.destinations, place, None)
    with pytest.raises(NotFound):
        await other.change(other.destinations, place, lambda d: d, None)
    assert other.destination(*place) is None


async def test_changes_at_once_are_all_applied(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    place = ("default", destination().id)
    await configuration.create(configuration.destinations, destination(), None)

    def longer(found: Destination) -> Destination:
        return msgspec.structs.replace(found, name=found.name + "x")

    await asyncio.gather(*(configuration.change(configuration.destinations, place, longer, None) for _ in range(50)))
    kept = configuration.destination(*place)
    assert kept is not None
    assert kept.name == "1" + "x" * 50


async def test_listeners_hear_of_changes_also_of_other_nodes(store: SqliteStore, clock: ManualClock) -> None:
    one, other = await loaded(store, clock), await loaded(store, clock)
    heard: list[tuple[str, str, bool]] = []

    def hear(kind: str, row_id: str, value: Configured | None) -> None:
        heard.append((kind, row_id, value is not None))

    other.subscribe(hear)
    made = await one.create(one.destinations, destination(), None)
    await other.load()
    await other.load()
    await one.delete(one.destinations, ("default", made.id), None)
    await other.load()
    assert heard == [("destination", made.id, True), ("destination", made.id, False)]


async def test_a_deleted_key_is_known_no_more(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    key = ApiKey(id="key_1", tenant="default", role=Role.READER, name="", key_hash=hash_key("k"), created_at=1)
    await configuration.create(configuration.keys, key, None)
    assert configuration.key_by_hash(hash_key("k")) == key
    await configuration.delete(configuration.keys, ("default", "key_1"), None)
    assert configuration.key_by_hash(hash_key("k")) is None


async def test_matching_follows_every_change(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    table = configuration.destinations
    orders = await configuration.create(table, destination(1, events=("order.*",)), None)
    everything = await configuration.create(table, destination(2), None)
    await configuration.create(table, destination(3, tenant="other"), None)
    assert configuration.matching("default", "order.created") == (everything, orders)
    assert configuration.matching("default", "customer.created") == (everything,)
    assert configuration.matching("default", "orderwire.test") == ()
    changed = await configuration.change(
        table,
        ("default", orders.id),
        lambda d: msgspec.structs.replace(d, events=("customer.*", "orderwire.*")),
        None,
    )
    assert configuration.matching("default", "order.created") == (everything,)
    assert configuration.matching("default", "orderwire.test") == (changed,)
    await configuration.delete(table, ("default", everything.id), None)
    assert configuration.matching("default", "order.created") == ()


async def test_wanting_asks_the_filters(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    table = configuration.destinations
    picky = msgspec.structs.replace(destination(1), filter={"data.total": {"$gt": 10}})
    await configuration.create(table, picky, None)
    plain = await configuration.create(table, destination(2), None)
    assert configuration.wanting(event("order.created", b'{"total": 11}')) == (plain, picky)
    assert configuration.wanting(event("order.created", b'{"total": 10}')) == (plain,)
    await configuration.change(table, ("default", picky.id), lambda d: msgspec.structs.replace(d, filter=None), None)
    assert len(configuration.wanting(event("order.created"))) == 2


async def test_pages_go_on_past_what_was_deleted_meanwhile(store: SqliteStore, clock: ManualClock) -> None:
    configuration = await loaded(store, clock)
    table = configuration.destinations
    for number in range(1, 8):
        await configuration.create(table, destination(number), None)
    first = table.page("default", 3, None)
    assert [d.name for d in first.rows] == ["7", "6", "5"]
    await configuration.delete(table, ("default", first.rows[-1].id), None)
    await configuration.create(table, destination(9), None)
    rest = table.page("default", 10, first.next_id)
    assert [d.name for d in rest.rows] == ["4", "3", "2", "1"]
    assert rest.next_id is None
    assert table.page("nobody", 10, None).rows == ()


async def test_a_tenant_made_by_another_node_is_a_conflict(store: SqliteStore, clock: ManualClock) -> None:
    one, other = await loaded(store, clock), await loaded(store, clock)
    tenant = Tenant(id="shop", name="x", created_at=1)
    await one.create(one.tenants, tenant, None)
    with pytest.raises(Conflict, match="already a tenant shop"):
        await other.create(other.tenants, tenant, None)
    assert other.tenant("shop") == tenant
