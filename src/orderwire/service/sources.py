"""Sources: where provider webhooks come in. What a kind asks for is its own business (orderwire/sources)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orderwire.clock import Clock
from orderwire.errors import Invalid, NotFound
from orderwire.ids import new_id
from orderwire.model import Source
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.ports import SourceKind
from orderwire.service.sealing import MASK
from orderwire.service.specs import SourceSpec, overlaid, validated
from orderwire.store.base import Page


class Sources:
    """Every verb on sources."""

    def __init__(self, configuration: Configuration, clock: Clock, kinds: Mapping[str, SourceKind]) -> None:
        self._configuration, self._clock, self.kinds = configuration, clock, kinds
        self._table = configuration.sources

    async def create(self, caller: Caller, spec: SourceSpec) -> Source:
        """A new one; its `ingest_path` takes webhooks at once."""
        caller.ask("source.create")
        secrets = self._checked(spec, ())
        now = self._clock.now()
        source = Source(
            id=new_id("src", now),
            tenant=caller.tenant,
            kind=spec.kind,
            name=spec.name,
            secrets=secrets,
            config=spec.config,
            created_at=now,
            updated_at=now,
        )
        audit = caller.entry("source.create", source.id, now, spec.name)
        return await self._configuration.create(self._table, source, audit)

    def get(self, caller: Caller, source_id: str) -> Source:
        """One of the caller's tenant."""
        caller.ask("source.get")
        source = self._table.get(caller.tenant, source_id)
        if source is None:
            raise NotFound(f"there is no source {source_id}")
        return source

    def list(self, caller: Caller, limit: int, before: str | None) -> Page[Source]:
        """Newest first."""
        caller.ask("source.list")
        return self._table.page(caller.tenant, limit, before)

    async def patch(self, caller: Caller, source_id: str, changes: Mapping[str, Any]) -> Source:
        """Lay `changes` over what it reads as; the k-th `***` among `secrets` keeps the k-th stored one."""
        caller.ask("source.change")
        now = self._clock.now()

        def change(found: Source) -> Source:
            spec = validated(SourceSpec, overlaid(spec_of(found), changes))
            if spec.kind != found.kind:
                raise Invalid.field("kind", "cannot be changed; create another source")
            secrets = self._checked(spec, found.secrets)
            return msgspec.structs.replace(found, name=spec.name, secrets=secrets, config=spec.config, updated_at=now)

        audit = caller.entry("source.change", source_id, now, ", ".join(sorted(changes))[:200])
        return await self._configuration.change(self._table, (caller.tenant, source_id), change, audit)

    async def delete(self, caller: Caller, source_id: str) -> None:
        """Remove it; what the provider sends from then on is 404. Its events stay."""
        caller.ask("source.delete")
        audit = caller.entry("source.delete", source_id, self._clock.now())
        await self._configuration.delete(self._table, (caller.tenant, source_id), audit)

    def _checked(self, spec: SourceSpec, stored: tuple[str, ...]) -> tuple[str, ...]:
        """The secrets, kept ones put back, after the kind has looked at them and the config."""
        kind = self.kinds.get(spec.kind)
        if kind is None:
            raise Invalid.field("kind", f"there is no kind {spec.kind[:64]!r}; see GET /v1/source-kinds")
        if not kind.available:
            raise Invalid.field("kind", f"{spec.kind} is not installed here: {kind.install_hint}")
        secrets = _unmasked(spec.secrets, stored)
        kind.validate_config(spec.config, secrets)
        return secrets


def spec_of(source: Source) -> dict[str, Any]:
    """What a source reads as, in the fields that can be written."""
    return {
        "kind": source.kind,
        "name": source.name,
        "secrets": [MASK] * len(source.secrets),
        "config": source.config,
    }


def _unmasked(secrets: Sequence[str], stored: tuple[str, ...]) -> tuple[str, ...]:
    kept, made = iter(stored), []
    for i, secret in enumerate(secrets):
        if secret == MASK:
            found = next(kept, None)
            if found is None:
                raise Invalid.field(f"secrets[{i}]", f"{MASK} keeps a stored secret, and there is none left")
            made.append(found)
        else:
            made.append(secret)
    return tuple(made)
