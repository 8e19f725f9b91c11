"""The catalogue: what a tenant's event types mean, and the JSON Schema that `strict` ones are held to."""

import msgspec

from orderwire.clock import Clock
from orderwire.errors import FieldError, Invalid, NotFound
from orderwire.model import EventType
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.schemas import SCHEMA_BYTES_MAX, Schema
from orderwire.service.specs import EventTypeSpec
from orderwire.store.base import Page


class EventTypes:
    """Every verb on event types, and the check that publishing makes."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._configuration, self._clock = configuration, clock
        self._table = configuration.event_types
        self._compiled: dict[tuple[str, str], tuple[EventType, Schema]] = {}

    def problems(self, tenant: str, type_name: str, data: bytes) -> list[FieldError]:
        """What is wrong with an event's data; nothing where its type has no schema or is not strict."""
        entry = self._configuration.event_type(tenant, type_name)
        if entry is None or not entry.strict or entry.json_schema is None:
            return []
        compiled = self._compiled.get((tenant, type_name))
        if compiled is None or compiled[0] is not entry:
            compiled = (entry, Schema(msgspec.json.decode(entry.json_schema)))
            self._compiled[tenant, type_name] = compiled
        return compiled[1].problems(data)

    async def put(self, caller: Caller, type_name: str, spec: EventTypeSpec) -> EventType:
        """Write an entry, new or in place of the old one."""
        caller.ask("event_type.put")
        if spec.strict and spec.json_schema is None:
            raise Invalid.field("strict", "needs a schema to be strict about")
        text = _text(spec)
        now = self._clock.now()

        def make(found: EventType | None) -> EventType:
            return EventType(
                type=type_name,
                tenant=caller.tenant,
                description=spec.description,
                json_schema=text,
                strict=spec.strict,
                created_at=found.created_at if found else now,
                updated_at=now,
            )

        audit = caller.entry("event_type.put", type_name, now)
        return await self._configuration.write(self._table, (caller.tenant, type_name), make, audit)

    def get(self, caller: Caller, type_name: str) -> EventType:
        """One of the caller's tenant."""
        caller.ask("event_type.get")
        entry = self._configuration.event_type(caller.tenant, type_name)
        if entry is None:
            raise NotFound(f"there is no event type {type_name} in the catalogue")
        return entry

    def list(self, caller: Caller, limit: int, before: str | None) -> Page[EventType]:
        """Newest first."""
        caller.ask("event_type.list")
        return self._table.page(caller.tenant, limit, before)

    async def delete(self, caller: Caller, type_name: str) -> None:
        """Remove an entry; events of the type are taken as before it was written."""
        caller.ask("event_type.delete")
        audit = caller.entry("event_type.delete", type_name, self._clock.now())
        await self._configuration.delete(self._table, (caller.tenant, type_name), audit)
        self._compiled.pop((caller.tenant, type_name), None)


def _text(spec: EventTypeSpec) -> str | None:
    """The schema's JSON text, after it was seen to compile."""
    if spec.json_schema is None:
        return None
    text = msgspec.json.encode(spec.json_schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise Invalid.field("schema", f"is larger than {SCHEMA_BYTES_MAX // 1024} KiB")
    Schema(spec.json_schema)
    return text.decode()
