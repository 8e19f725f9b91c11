"""Ends of attempts on their way to the store: written in batches, kept and tried again while it cannot take them."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from orderwire.clock import Clock
from orderwire.errors import OrderwireError
from orderwire.store.base import Finish, Store, Work

UNWRITTEN_MAX = 5_000  # ends waiting for the store; beyond, nothing new is started
WRITE_AGAIN_S = 1.0
STOP_GRACE_S = 5.0
log = structlog.get_logger("orderwire.delivery")

Ended = list[tuple[Work, Finish]]


class Endings:
    """Writes what happened. `written` hears of each batch once it is committed."""

    def __init__(self, store: Store, clock: Clock, written: Callable[[Ended], None]) -> None:
        """Nothing waits."""
        self._store = store
        self._clock = clock
        self._told = written
        self._unwritten = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def full(self) -> bool:
        """Whether so much waits for the store that nothing new should be started."""
        return self._unwritten > UNWRITTEN_MAX

    def add(self, ended: Ended) -> None:
        """Write these, together with whatever else waits for a commit."""
        self._unwritten += len(ended)
        task = asyncio.create_task(self._write(ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Write what can be written, within a grace. The rest is sent again after a start: at least once."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_GRACE_S)

    async def _write(self, ended: Ended) -> None:
        """Write ends of attempts. What the store cannot take now is kept and tried again: it did happen."""
        try:
            while not await self._written([finish for _, finish in ended]):
                if self._stopping:
                    return
                await asyncio.sleep(WRITE_AGAIN_S)
        except Exception:  # a row that no store takes must not take its neighbours along
            log.exception("outcome_not_storable", deliveries=[work.delivery_id for work, _ in ended][:10])
            self._unwritten -= len(ended)
            if len(ended) > 1:
                for pair in ended:
                    self._unwritten += 1
                    await self._write([pair])
            return
        self._unwritten -= len(ended)
        self._told(ended)

    async def _written(self, finishes: Sequence[Finish]) -> bool:
        try:
            await self._store.finish(finishes, self._clock.now())
        except OrderwireError as error:
            log.warning("outcomes_not_written", count=len(finishes), error=error.detail)
            return False
        return True
