"""All configuration of the node, in memory: read at once on the hot path, written through the store.

A write commits in the store first and then shows here. Each row has a version that every write raises by one; who
loses a race reads again and applies its change to what it finds. Secrets are plain here and sealed in the store.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from orderwire.clock import Clock
from orderwire.crypto import SecretBox
from orderwire.destinations import secret_paths
from orderwire.errors import Conflict, NotFound, OrderwireError
from orderwire.model import (
    DEFAULT_TENANT,
    ApiKey,
    Destination,
    Event,
    EventType,
    Role,
    Source,
    Tenant,
)
from orderwire.routing.filters import Filter, compile_filter
from orderwire.routing.matching import matches_any
from orderwire.service.sealing import Path, seal, unseal
from orderwire.service.tables import C, Configured, Place, Table
from orderwire.store.base import AuditEntry, ConfigRow, Store

ROUTES_MAX = 10_000  # (tenant, type) pairs whose destinations are remembered
RACES_MAX = 10
SETTINGS_KEY_ID = "key_settings"

Listener = Callable[[str, str, Configured | None], None]  # kind, id, value (None: deleted)


class Configuration:
    """Tables of tenants, keys, sources, destinations and event types, and what is derived from them."""

    def __init__(self, store: Store, box: SecretBox, clock: Clock, admin_key: str | None = None) -> None:
        """`admin_key`: the setting's key, always valid; only its hash is kept, and only in memory."""
        self._store, self._box, self._clock = store, box, clock
        self.tenants: Table[Tenant] = Table("tenant", Tenant, lambda t: (t.id, t.id), lambda _: "")
        self.keys: Table[ApiKey] = Table("key", ApiKey, lambda k: (k.tenant, k.id), lambda _: "")
        self.sources: Table[Source] = Table(
            "source", Source, lambda s: (s.tenant, s.id), lambda s: s.tenant, _source_secrets
        )
        self.destinations: Table[Destination] = Table(
            "destination", Destination, lambda d: (d.tenant, d.id), lambda d: d.tenant, _destination_secrets
        )
        self.event_types: Table[EventType] = Table(
            "event_type", EventType, lambda t: (t.tenant, t.type), lambda t: t.tenant
        )
        self._tables: dict[str, Table[Any]] = {
            table.kind: table for table in (self.tenants, self.keys, self.sources, self.destinations, self.event_types)
        }
        self._listeners: list[Listener] = []
        self._locks: WeakValueDictionary[tuple[str, Place], asyncio.Lock] = WeakValueDictionary()
        self._writes = 0
        self._keys_by_hash: dict[str, ApiKey] = {}
        self._settings_key = _settings_key(admin_key, clock.now()) if admin_key else None
        self._routes: dict[tuple[str, str], tuple[Destination, ...]] = {}
        self._filters: dict[str, Filter] = {}

    async def load(self) -> None:
        """Read all of it from the store; tell listeners what differs from before. Makes the `default` tenant."""
        while True:
            writes, rows = self._writes, await self._store.load_config()
            if writes == self._writes:  # else the answer may be older than what we know
                break
        known = [row for row in rows if row.kind in self._tables]
        for row in known:
            self._load_row(row)
        present = {(row.kind, row.tenant, row.id) for row in known}
        for table in self._tables.values():
            for place in table.places():
                if (table.kind, *place) not in present:
                    self._forget(table, place)
        if self.tenant(DEFAULT_TENANT) is None:
            made = Tenant(id=DEFAULT_TENANT, name="Default", created_at=self._clock.now())
            await self.write(self.tenants, (made.id, made.id), lambda found: found or made, None)

    def subscribe(self, listener: Listener) -> None:
        """Have `listener(kind, id, value_or_None)` called after each change, in the order of the changes."""
        self._listeners.append(listener)

    # -- reading ---------------------------------------------------------------------------------

    def key_by_hash(self, sha256_hex: str) -> ApiKey | None:
        """Whose key has this SHA-256."""
        settings = self._settings_key
        if settings is not None and settings.key_hash == sha256_hex:
            return settings
        return self._keys_by_hash.get(sha256_hex)

    def has_key(self, key_id: str) -> bool:
        """Whether a key of this id is there: one that was made, or the settings'."""
        return self.keys.by_id(key_id) is not None or (
            self._settings_key is not None and self._settings_key.id == key_id
        )

    def tenant(self, tenant_id: str) -> Tenant | None:
        """A tenant."""
        return self.tenants.get(tenant_id, tenant_id)

    def destination(self, tenant: str, destination_id: str) -> Destination | None:
        """A tenant's destination."""
        return self.destinations.get(tenant, destination_id)

    def source_by_id(self, source_id: str) -> Source | None:
        """A source, whoever's it is: an ingest path names no tenant."""
        return self.sources.by_id(source_id)

    def event_type(self, tenant: str, type_name: str) -> EventType | None:
        """An entry of a tenant's catalogue."""
        return self.event_types.get(tenant, type_name)

    def matching(self, tenant: str, event_type: str) -> tuple[Destination, ...]:
        """Destinations that ask for a type, whatever their state; filters are not looked at."""
        found = self._routes.get((tenant, event_type))
        if found is None:
            found = tuple(d for d in self.destinations.of(tenant) if matches_any(d.events, event_type))
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            self._routes[tenant, event_type] = found
        return found

    def wanting(self, event: Event) -> tuple[Destination, ...]:
        """Destinations that get an event: its type matches and their filter holds."""
        return self.filtered(self.matching(event.tenant, event.type), event)

    def filtered(self, destinations: tuple[Destination, ...], event: Event) -> tuple[Destination, ...]:
        """Those of `destinations` whose filter holds for the event. Parses `data` only where one has a filter."""
        if not any(destination.id in self._filters for destination in destinations):
            return destinations
        document = {
            "id": event.public_id,
            "type": event.type,
            "subject": event.subject,
            "source": event.source_id,
            "data": msgspec.json.decode(event.data),
        }
        return tuple(
            destination
            for destination in destinations
            if (holds := self._filters.get(destination.id)) is None or holds(document)
        )

    # -- writing ---------------------------------------------------------------------------------

    async def create(self, table: Table[C], value: C, audit: AuditEntry | None) -> C:
        """Keep something new. Raises Conflict where it exists."""

        def make(found: C | None) -> C:
            if found is not None:
                raise Conflict(f"there is already a {_word(table)} {table.place(value)[1]}")
            return value

        return await self.write(table, table.place(value), make, audit)

    async def change(self, table: Table[C], place: Place, change: Callable[[C], C], audit: AuditEntry | None) -> C:
        """Change what is there. `change` may be called again after a lost race. Raises NotFound."""

        def make(found: C | None) -> C:
            if found is None:
                raise _missing(table, place)
            return change(found)

        return await self.write(table, place, make, audit)

    async def write(self, table: Table[C], place: Place, make: Callable[[C | None], C], audit: AuditEntry | None) -> C:
        """Write what `make` makes of what is there. Raises Conflict where others keep writing first."""
        lock = self._locks.setdefault((table.kind, place), asyncio.Lock())
        async with lock:
            for _ in range(RACES_MAX):
                held = table.held(place)
                value = make(held.value if held else None)
                version = held.version + 1 if held else 1
                if await self._store.save_config(self._row(table, value, version), audit):
                    self._writes += 1
                    self._keep(table, value, version)
                    return value
                await self.load()
        raise Conflict(f"{_word(table)} {place[1]} is being changed by others; try again")

    async def delete(self, table: Table[C], place: Place, audit: AuditEntry | None) -> C:
        """Remove something; what it was. Raises NotFound."""
        value = table.get(*place)
        if value is None or not await self._store.delete_config(table.kind, *place, audit):
            raise _missing(table, place)
        self._writes += 1
        self._forget(table, place)
        return value

    # -- keeping ---------------------------------------------------------------------------------

    def _row(self, table: Table[C], value: C, version: int) -> ConfigRow:
        tenant, row_id = table.place(value)
        body = seal(value, table.secrets(value), self._box, row_id)
        return ConfigRow(kind=table.kind, tenant=tenant, id=row_id, body=body, version=version)

    def _load_row(self, row: ConfigRow) -> None:
        table = self._tables[row.kind]
        held = table.held((row.tenant, row.id))
        if held is not None and held.version >= row.version:
            return
        try:
            value = unseal(row.body, table.struct, self._box, row.id)
        except ValueError as error:
            raise OrderwireError(f"the stored {_word(table)} {row.id} cannot be read: {error}") from error
        self._keep(table, value, row.version)

    def _keep(self, table: Table[C], value: C, version: int) -> None:
        if table.put(value, version):
            self._derive(table.place(value)[1], value)
            self._tell(table, table.place(value), value)

    def _forget(self, table: Table[C], place: Place) -> None:
        value = table.remove(place)
        if value is None:
            return
        if isinstance(value, ApiKey):
            self._keys_by_hash.pop(value.key_hash, None)
        if isinstance(value, Destination):
            self._routes.clear()
            self._filters.pop(value.id, None)
        self._tell(table, place, None)

    def _derive(self, row_id: str, value: Configured) -> None:
        if isinstance(value, ApiKey):
            self._keys_by_hash[value.key_hash] = value
        if isinstance(value, Destination):
            self._routes.clear()
            self._filters.pop(row_id, None)
            if value.filter:
                self._filters[row_id] = compile_filter(value.filter)

    def _tell(self, table: Table[C], place: Place, value: C | None) -> None:
        for listener in self._listeners:
            listener(table.kind, place[1], value)


def hash_key(key: str) -> str:
    """What is kept of an API key: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def _settings_key(admin_key: str, now: int) -> ApiKey:
    return ApiKey(
        id=SETTINGS_KEY_ID,
        tenant=DEFAULT_TENANT,
        role=Role.ADMIN,
        name="ORDERWIRE_ADMIN_KEY",
        key_hash=hash_key(admin_key),
        created_at=now,
    )


def _destination_secrets(destination: Destination) -> Iterable[Path]:
    yield from (("secrets", i, "value") for i in range(len(destination.secrets)))
    yield from (("config", *path) for path in secret_paths(destination.kind, destination.config))


def _source_secrets(source: Source) -> Iterable[Path]:
    return (("secrets", i) for i in range(len(source.secrets)))


def _word(table: Table[C]) -> str:
    return table.kind.replace("_", " ")


def _missing(table: Table[C], place: Place) -> NotFound:
    return NotFound(f"there is no {_word(table)} {place[1]}")
