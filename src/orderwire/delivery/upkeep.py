"""What a node does in the background: bulk replays, retention. In bounded steps, resumed after a crash."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from orderwire.clock import DAY, Clock
from orderwire.errors import OrderwireError
from orderwire.model import Tenant
from orderwire.store.base import Store

REPLAY_STEP = 200
PRUNE_STEP = 100  # events in one transaction: about 12 ms of the writer
PRUNE_EVERY_S = 60.0
AGAIN_S = 5.0
log = structlog.get_logger("orderwire.upkeep")


class Upkeep:
    """Two loops: replays as soon as there are any, retention once a minute."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tenants: Callable[[], Iterable[Tenant]],
        retention_days: int,
        wake: Callable[[str], None],
        swallowed: Callable[[str], None],
    ) -> None:
        """`wake`: tell a lane that it has something new; `swallowed`: count an error that went no further."""
        self._store = store
        self._clock = clock
        self._tenants = tenants
        self._retention_days = retention_days
        self._wake = wake
        self._swallowed = swallowed
        self._replay_asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; replays that a crash interrupted go on."""
        self._replay_asked.set()
        self._tasks = [
            asyncio.create_task(self._replay_for_ever(), name="orderwire-replays"),
            asyncio.create_task(self._prune_for_ever(), name="orderwire-retention"),
        ]

    async def stop(self) -> None:
        """End both loops between two steps."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def replay_asked(self) -> None:
        """A bulk replay was stored."""
        self._replay_asked.set()

    async def prune(self) -> int:
        """Drop what is older than each tenant's retention; how many events went."""
        dropped = 0
        for tenant in list(self._tenants()):
            days = tenant.retention_days or self._retention_days
            more = True
            while more:
                now = self._clock.now()
                step = await self._store.prune(tenant.id, now - days * DAY, PRUNE_STEP, now)
                dropped += step.events
                more = step.more
                await asyncio.sleep(0)
        return dropped

    async def _replay_for_ever(self) -> None:
        while True:
            await self._replay_asked.wait()
            self._replay_asked.clear()
            try:
                while jobs := await self._store.step_replays(REPLAY_STEP, self._clock.now()):
                    for job in jobs:
                        self._wake(job.destination)
            except OrderwireError as error:
                self._tell("replay", error)
                self._replay_asked.set()
                await asyncio.sleep(AGAIN_S)

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                dropped = await self.prune()
                if dropped:
                    log.info("retention", events=dropped)
            except OrderwireError as error:
                self._tell("retention", error)
            await asyncio.sleep(PRUNE_EVERY_S)

    def _tell(self, where: str, error: OrderwireError) -> None:
        """The store could not just now; the loop comes back."""
        self._swallowed(where)
        log.warning("upkeep_failed", where=where, error=error.detail)
