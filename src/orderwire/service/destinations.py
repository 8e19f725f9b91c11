"""Destinations: made, changed, paused, tried, removed. Their secrets: rotation.py; their figures: statistics.py."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from orderwire.clock import Clock
from orderwire.destinations import KINDS, DestinationKind, secret_paths
from orderwire.errors import Invalid, NotFound, TooManyRequests
from orderwire.ids import new_id
from orderwire.model import (
    Attempt,
    DeliveryStatus,
    Destination,
    DestinationState,
    Event,
    Ordering,
    RateLimit,
    Retry,
)
from orderwire.routing.filters import compile_filter
from orderwire.service.background import Background
from orderwire.service.callers import Caller
from orderwire.service.configuration import Configuration
from orderwire.service.ports import Dispatcher, UrlProblem
from orderwire.service.rotation import first_secrets, rescheme
from orderwire.service.sealing import MASK, at_path, masked, put_at
from orderwire.service.specs import (
    BulkReplaySpec,
    DestinationSpec,
    TestSpec,
    overlaid,
    validated,
)
from orderwire.service.statistics import Statistics, summarise
from orderwire.store.base import AuditEntry, Page, ReplayJob, Store

CANCEL_STEP = 500
WAITING_COUNTED_MAX = 100_000
TESTS_MAX = 10  # of one tenant at once: each is a connection, whatever the lane's limits
DELETED = "destination_deleted"


class Destinations:
    """Every verb on destinations."""

    def __init__(
        self,
        store: Store,
        configuration: Configuration,
        clock: Clock,
        dispatcher: Dispatcher,
        background: Background,
        url_problem: UrlProblem,
        replay_asked: Callable[[], None],
    ) -> None:
        """`url_problem`: what is wrong with a URL as this node may reach it; `replay_asked`: a bulk replay waits."""
        self._store, self._configuration, self._clock = store, configuration, clock
        self._dispatcher, self._background = dispatcher, background
        self._url_problem, self._replay_asked = url_problem, replay_asked
        self._table = configuration.destinations
        self._testing: Counter[str] = Counter()

    async def create(self, caller: Caller, spec: DestinationSpec) -> Destination:
        """A new one, active at once."""
        caller.ask("destination.create")
        now = self._clock.now()
        config = self._checked(spec, {})
        destination = Destination(
            id=new_id("dst", now),
            tenant=caller.tenant,
            kind=spec.kind,
            config=config,
            secrets=first_secrets(_kind(spec.kind).secret_scheme(config), now),
            created_at=now,
            updated_at=now,
            **_fields(spec),
        )
        audit = caller.entry("destination.create", destination.id, now, spec.name)
        return await self._configuration.create(self._table, destination, audit)

    def get(self, caller: Caller, destination_id: str) -> Destination:
        """One of the caller's tenant."""
        caller.ask("destination.get")
        return self._get(caller, destination_id)

    def list(self, caller: Caller, limit: int, before: str | None) -> Page[Destination]:
        """Newest first."""
        caller.ask("destination.list")
        return self._table.page(caller.tenant, limit, before)

    async def patch(self, caller: Caller, destination_id: str, changes: Mapping[str, Any]) -> Destination:
        """Lay `changes` over what it reads as; `***` keeps a secret field."""
        caller.ask("destination.change")
        now = self._clock.now()

        def change(found: Destination) -> Destination:
            spec = validated(DestinationSpec, overlaid(spec_of(found), changes))
            if spec.kind != found.kind:
                raise Invalid.field("kind", "cannot be changed; create another destination")
            config = self._checked(spec, found.config)
            secrets = rescheme(found.secrets, _kind(spec.kind).secret_scheme(config), now)
            return msgspec.structs.replace(found, config=config, secrets=secrets, updated_at=now, **_fields(spec))

        audit = caller.entry("destination.change", destination_id, now, ", ".join(sorted(changes))[:200])
        return await self._change(caller, destination_id, change, audit)

    async def delete(self, caller: Caller, destination_id: str) -> None:
        """Remove it and cancel what is pending, the first at once and the rest in the background."""
        caller.ask("destination.delete")
        now = self._clock.now()
        audit = caller.entry("destination.delete", destination_id, now)
        await self._configuration.delete(self._table, (caller.tenant, destination_id), audit)
        if await self._store.cancel_lane(destination_id, DELETED, CANCEL_STEP, now):
            self._background.start(f"cancel {destination_id}", self._cancel_all(destination_id))

    async def activate(self, caller: Caller, destination_id: str) -> Destination:
        """Send again: also after it was disabled; breaker and hold are forgotten."""
        caller.ask("destination.activate")
        destination = await self._enter(caller, destination_id, DestinationState.ACTIVE, "destination.activate")
        self._dispatcher.reset(destination_id)
        self._dispatcher.wake(destination_id)
        return destination

    async def pause(self, caller: Caller, destination_id: str) -> Destination:
        """Stop sending; deliveries wait."""
        caller.ask("destination.pause")
        return await self._enter(caller, destination_id, DestinationState.PAUSED, "destination.pause")

    async def test(self, caller: Caller, destination_id: str, spec: TestSpec) -> Attempt:
        """One real signed request, at once, whatever its state."""
        caller.ask("destination.test")
        destination = self._get(caller, destination_id)
        now = self._clock.now()
        event = Event(
            id=new_id("evt", now),
            tenant=caller.tenant,
            type=spec.type,
            data=msgspec.json.encode({"test": True, "destination": destination.id}),
            time_at=now,
            received_at=now,
        )
        if self._testing[caller.tenant] >= TESTS_MAX:
            raise TooManyRequests(f"{TESTS_MAX} tests are on their way already; wait for one to end", retry_after_s=1)
        self._testing[caller.tenant] += 1
        try:
            return await self._dispatcher.test(destination, event)
        finally:
            self._testing -= Counter((caller.tenant,))

    async def replay(self, caller: Caller, destination_id: str, spec: BulkReplaySpec) -> ReplayJob:
        """A stored, resumable job that sends a span of its events again, each exactly once."""
        caller.ask("destination.replay")
        destination = self._get(caller, destination_id)
        now = self._clock.now()
        until = now if spec.until is None else spec.until
        if until < spec.since:
            raise Invalid.field("until", "is before since")
        job = ReplayJob(
            id=new_id("rpl", now),
            tenant=caller.tenant,
            destination=destination.id,
            since=spec.since,
            until=until,
            status=None if spec.status == "any" else DeliveryStatus(spec.status),
            types=tuple(spec.types),
            force=spec.force,
            ordered=destination.ordering is Ordering.SUBJECT,
        )
        stored = await self._store.create_replay(job, now)
        await self._store.append_audit(
            caller.entry("destination.replay", destination.id, now, f"{stored.count} events")
        )
        self._replay_asked()
        return stored

    async def stats(self, caller: Caller, destination_id: str, since: int, until: int) -> Statistics:
        """Counts, success rate, latency and a time series between two instants."""
        caller.ask("destination.stats")
        destination = self._get(caller, destination_id)
        rows = await self._store.lane_stats(destination.id, since, until)
        waiting = await self._store.waiting_count(destination.id, WAITING_COUNTED_MAX)
        lane = self._dispatcher.lane_view(destination.id)
        return summarise(rows, since, until, waiting, lane)

    async def sweep_deleted(self) -> None:
        """Cancel what waits for destinations that are no more: a crash may have cut a delete short."""
        lanes = [lane.destination for lane in await self._store.due_lanes()]
        if all(self._table.by_id(lane) for lane in lanes):
            return
        await self._configuration.load()  # another node may have made it since we looked
        for lane in lanes:
            if self._table.by_id(lane) is None:
                await self._cancel_all(lane)

    # -- steps -----------------------------------------------------------------------------------

    def _get(self, caller: Caller, destination_id: str) -> Destination:
        destination = self._configuration.destination(caller.tenant, destination_id)
        if destination is None:
            raise NotFound(f"there is no destination {destination_id}")
        return destination

    def _checked(self, spec: DestinationSpec, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The config by its kind's rules, kept secrets put back; the filter compiled once to see that it does."""
        kind = _kind(spec.kind)
        if spec.filter:
            compile_filter(spec.filter)
        config = kind.validate(_unmasked(spec.kind, spec.config, stored))
        for name in kind.url_fields:
            problem = self._url_problem(str(config[name]))
            if problem:
                raise Invalid.field(f"config.{name}", problem)
        return config

    async def _enter(self, caller: Caller, destination_id: str, state: DestinationState, verb: str) -> Destination:
        now = self._clock.now()

        def change(found: Destination) -> Destination:
            return msgspec.structs.replace(found, state=state, disabled_reason=None, updated_at=now)

        return await self._change(caller, destination_id, change, caller.entry(verb, destination_id, now))

    async def _change(
        self, caller: Caller, destination_id: str, change: Callable[[Destination], Destination], audit: AuditEntry
    ) -> Destination:
        return await self._configuration.change(self._table, (caller.tenant, destination_id), change, audit)

    async def _cancel_all(self, destination_id: str) -> None:
        step = CANCEL_STEP
        while step:
            step = await self._store.cancel_lane(destination_id, DELETED, CANCEL_STEP, self._clock.now())


def spec_of(destination: Destination) -> dict[str, Any]:
    """What a destination reads as, in the fields that can be written; secret fields are `***`."""
    limit = destination.rate_limit
    return {
        "kind": destination.kind,
        "name": destination.name,
        "events": list(destination.events),
        "config": masked(destination.config, secret_paths(destination.kind, destination.config)),
        "filter": destination.filter,
        "ordering": destination.ordering,
        "on_exhausted": destination.on_exhausted,
        "rate_limit": limit and {"per_second": limit.per_second, "burst": limit.burst},
        "concurrency": destination.concurrency,
        "retry": {"schedule_s": list(destination.retry.schedule_s)},
    }


def _fields(spec: DestinationSpec) -> dict[str, Any]:
    """The fields that go over as they are."""
    limit = spec.rate_limit
    return {
        "name": spec.name,
        "events": tuple(spec.events),
        "filter": spec.filter,
        "ordering": spec.ordering,
        "on_exhausted": spec.on_exhausted,
        "rate_limit": limit and RateLimit(per_second=limit.per_second, burst=limit.burst),
        "concurrency": spec.concurrency,
        "retry": Retry(schedule_s=tuple(spec.retry.schedule_s)),
    }


def _kind(name: str) -> DestinationKind:
    kind = KINDS.get(name)
    if kind is None:
        raise Invalid.field("kind", f"there is no kind {name[:64]!r}; see GET /v1/destination-kinds")
    if not kind.available:
        raise Invalid.field("kind", f"{name} is not installed here: {kind.install_hint}")
    return kind


def _unmasked(kind: str, config: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the stored secret wherever it reads `***`."""
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    for path in secret_paths(kind, made):
        if at_path(made, path) != MASK:
            continue
        kept = at_path(stored, path)
        if kept is None:
            raise Invalid.field(f"config.{'.'.join(path)}", f"{MASK} keeps a stored secret, and there is none")
        put_at(made, path, kept)
    return made
