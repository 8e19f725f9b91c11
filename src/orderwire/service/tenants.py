"""Tenants, the keys that act for them, and the audit log. All but the log are for admins."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from orderwire.clock import Clock
from orderwire.errors import Conflict, Invalid, NotFound
from orderwire.ids import new_id
from orderwire.model import DEFAULT_TENANT, ApiKey, Role, Tenant
from orderwire.service.background import Background
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration, hash_key
from orderwire.service.specs import KeySpec, TenantSpec, overlaid, validated
from orderwire.store.base import AuditEntry, Page, Store

KEY_PREFIX, KEY_BYTES = "ow_", 32
PRUNE_STEP, PRUNE_AGAIN_S = 500, 0.5


class Tenants:
    """Every verb on tenants."""

    def __init__(self, store: Store, configuration: Configuration, clock: Clock, background: Background) -> None:
        self._store, self._configuration, self._clock = store, configuration, clock
        self._background = background
        self._table = configuration.tenants

    async def create(self, caller: Caller, spec: TenantSpec) -> Tenant:
        """A new one. Conflict where the id is taken."""
        caller.ask("tenant.create")
        now = self._clock.now()
        tenant = Tenant(id=spec.id, name=spec.name, created_at=now, retention_days=spec.retention_days)
        return await self._configuration.create(self._table, tenant, caller.entry("tenant.create", tenant.id, now))

    def get(self, caller: Caller, tenant_id: str) -> Tenant:
        """One."""
        caller.ask("tenant.get")
        tenant = self._configuration.tenant(tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}")
        return tenant

    def list(self, caller: Caller, limit: int, before: str | None) -> Page[Tenant]:
        """Newest first."""
        caller.ask("tenant.list")
        return self._table.page("", limit, before)

    async def patch(self, caller: Caller, tenant_id: str, changes: Mapping[str, Any]) -> Tenant:
        """Lay `changes` over what it reads as."""
        caller.ask("tenant.change")

        def change(found: Tenant) -> Tenant:
            shown = {"id": found.id, "name": found.name, "retention_days": found.retention_days}
            spec = validated(TenantSpec, overlaid(shown, changes))
            if spec.id != found.id:
                raise Invalid.field("id", "cannot be changed")
            return msgspec.structs.replace(found, name=spec.name, retention_days=spec.retention_days)

        audit = caller.entry("tenant.change", tenant_id, self._clock.now(), ", ".join(sorted(changes))[:200])
        return await self._configuration.change(self._table, (tenant_id, tenant_id), change, audit)

    async def delete(self, caller: Caller, tenant_id: str) -> None:
        """Remove it with its keys and catalogue, and drop its events in the background.

        Conflict for `default`, and while it has destinations or sources: those are deleted by name, not by accident.
        """
        caller.ask("tenant.delete")
        if tenant_id == DEFAULT_TENANT:
            raise Conflict("the default tenant always exists")
        configuration, now = self._configuration, self._clock.now()
        for kind, table in (("destinations", configuration.destinations), ("sources", configuration.sources)):
            if next(table.of(tenant_id), None) is not None:
                raise Conflict(f"tenant {tenant_id} still has {kind}; delete them first")
        audit = caller.entry("tenant.delete", tenant_id, now)
        await configuration.delete(self._table, (tenant_id, tenant_id), audit)
        for key in [key for key in configuration.keys if key.tenant == tenant_id]:
            await configuration.delete(configuration.keys, (tenant_id, key.id), None)
        for entry in list(configuration.event_types.of(tenant_id)):
            await configuration.delete(configuration.event_types, (tenant_id, entry.type), None)
        self._background.start(f"drop {tenant_id}", self._drop_events(tenant_id, now))

    async def _drop_events(self, tenant_id: str, before: int) -> None:
        while True:
            step = await self._store.prune(tenant_id, before, PRUNE_STEP, self._clock.now())
            if not step.more and not step.left:
                return
            if not step.more:  # deliveries in hand: their events go when the attempts have ended
                await asyncio.sleep(PRUNE_AGAIN_S)


class Keys:
    """Every verb on API keys."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._configuration, self._clock = configuration, clock
        self._table = configuration.keys

    async def create(self, caller: Caller, spec: KeySpec) -> tuple[ApiKey, str]:
        """A new key and its text, which is not kept and never shown again."""
        caller.ask("key.create")
        if self._configuration.tenant(spec.tenant) is None:
            raise Invalid.field("tenant", f"there is no tenant {spec.tenant}")
        if (spec.role is Role.BROWSER) != bool(spec.origins):
            raise Invalid.field("origins", "browser keys need origins, other keys have none")
        now = self._clock.now()
        text = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        key = ApiKey(
            id=new_id("key", now),
            tenant=spec.tenant,
            role=spec.role,
            name=spec.name,
            key_hash=hash_key(text),
            created_at=now,
            origins=tuple(spec.origins),
        )
        audit = caller.entry("key.create", key.id, now, f"{key.role} of {key.tenant}")
        return await self._configuration.create(self._table, key, audit), text

    def list(self, caller: Caller, limit: int, before: str | None) -> Page[ApiKey]:
        """Of all tenants, newest first; never the keys themselves."""
        caller.ask("key.list")
        return self._table.page("", limit, before)

    async def delete(self, caller: Caller, key_id: str) -> None:
        """Whoever uses it is refused from now on."""
        caller.ask("key.delete")
        key = self._table.by_id(key_id)
        if key is None:
            raise NotFound(f"there is no key {key_id}")
        audit = caller.entry("key.delete", key_id, self._clock.now(), f"{key.role} of {key.tenant}")
        await self._configuration.delete(self._table, (key.tenant, key_id), audit)


class Audit:
    """Who changed or saw what."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, caller: Caller, limit: int, before: str | None) -> Page[AuditEntry]:
        """Newest first."""
        caller.ask("audit.list")
        rows = await self._store.list_audit(caller.tenant, limit + 1, before)
        shown = tuple(rows[:limit])
        return Page(rows=shown, next_id=shown[-1].id if len(rows) > limit else None)
