"""The verbs of a node, put together once: what wiring.py makes and the API is given."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orderwire.clock import Clock
from orderwire.observe.live import Live
from orderwire.service.background import Background
from orderwire.service.callers import Callers
from orderwire.service.configuration import Configuration
from orderwire.service.deliveries import Deliveries
from orderwire.service.destinations import Destinations
from orderwire.service.event_types import EventTypes
from orderwire.service.ports import Dispatcher, SourceKind, UrlProblem
from orderwire.service.rates import Rates
from orderwire.service.reading import Reading
from orderwire.service.rotation import Rotation
from orderwire.service.sources import Sources
from orderwire.service.tenants import Audit, Keys, Tenants
from orderwire.store.base import Store


@dataclass(slots=True)
class Services:
    """Every verb but publishing and receiving (service/events.py). `stopping`: `/readyz` says no, live streams end."""

    store: Store
    clock: Clock
    configuration: Configuration
    callers: Callers
    destinations: Destinations
    rotation: Rotation
    deliveries: Deliveries
    reading: Reading
    sources: Sources
    event_types: EventTypes
    tenants: Tenants
    keys: Keys
    audit: Audit
    live: Live
    background: Background
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Take up what a crash cut short. After `Configuration.load`."""
        self.background.start("cancel deleted lanes", self.destinations.sweep_deleted())

    async def stop(self) -> None:
        """Begin nothing more in the background."""
        self.stopping.set()
        await self.background.stop()


def build_services(  # noqa: PLR0913 - the one place where the service's parts meet
    *,
    store: Store,
    configuration: Configuration,
    event_types: EventTypes,
    clock: Clock,
    dispatcher: Dispatcher,
    live: Live,
    rates: Rates,
    source_kinds: Mapping[str, SourceKind],
    url_problem: UrlProblem,
    replay_asked: Callable[[], None],
) -> Services:
    """Put together; opens and loads nothing."""
    background = Background()
    return Services(
        store=store,
        clock=clock,
        configuration=configuration,
        callers=Callers(configuration, rates, clock),
        destinations=Destinations(store, configuration, clock, dispatcher, background, url_problem, replay_asked),
        rotation=Rotation(store, configuration, clock),
        deliveries=Deliveries(store, configuration, clock, dispatcher),
        reading=Reading(store, configuration, clock, dispatcher),
        sources=Sources(configuration, clock, source_kinds),
        event_types=event_types,
        tenants=Tenants(store, configuration, clock, background),
        keys=Keys(configuration, clock),
        audit=Audit(store),
        live=live,
        background=background,
    )
