"""Where deliveries come from when they are not in memory: claims, and being woken when something is due.

The store is asked for a lane only when it may have something and the lane has room; all hungry lanes in one claim.
Nothing here is needed for correctness across a crash: a sweep finds whatever a forgotten alarm would have.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from orderwire.clock import SECOND, Clock
from orderwire.delivery.alarms import Alarms
from orderwire.delivery.lane import Lane
from orderwire.errors import OrderwireError
from orderwire.store.base import Claimed, Store, Want, Work

FANOUT_STEP = 500
RELEASE_STEP = 500  # in one transaction: 20,000 at once held every other write up for 0.3 s
LANE_SHARE = 2  # one lane may hold so much of the memory: half
LOOP_GRACE_S = 5.0
log = structlog.get_logger("orderwire.delivery")


class Memory:
    """How much may be held in memory: a count of deliveries, and the bytes of their payloads.

    `lane_events_max`: of these, what one lane may hold, so that a slow one leaves room for the others.
    """

    __slots__ = ("_bytes_max", "_events_max", "bytes", "events", "lane_events_max")

    def __init__(self, events_max: int, bytes_max: int) -> None:
        """Empty."""
        self._events_max = events_max
        self._bytes_max = bytes_max
        self.lane_events_max = events_max // LANE_SHARE
        self.events = 0
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Whether one more of `size` bytes may come in."""
        return self.events < self._events_max and self.bytes + size <= self._bytes_max

    def take(self, size: int) -> None:
        """One came in."""
        self.events += 1
        self.bytes += size

    def let_go(self, size: int) -> None:
        """One is gone."""
        self.events -= 1
        self.bytes -= size


class Supply:
    """Feeds lanes from the store. `send` starts what a lane has ready; `orphaned` hears of lanes that are no more."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lanes: dict[str, Lane],
        memory: Memory,
        send: Callable[[Lane], None],
        orphaned: Callable[[str], None],
        sweep_s: float,
    ) -> None:
        """Nothing runs yet."""
        self._store = store
        self._clock = clock
        self._lanes = lanes
        self._memory = memory
        self._send = send
        self._orphaned = orphaned
        self._sweep_s = sweep_s
        self._alarms = Alarms(clock, self._ring)
        self._hungry: set[str] = set()
        self._claimer: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Begin with what waits in the store."""
        await self.sweep()
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="orderwire-sweeper")

    def stop(self) -> None:
        """Claim nothing more; releases go on until `drained`."""
        self._stopping = True
        self._alarms.stop()
        for task in (self._sweeper, self._claimer):
            if task is not None:
                task.cancel()

    async def drained(self) -> None:
        """Until what was given back is back, or a grace is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LOOP_GRACE_S)

    def wake(self, destination_id: str) -> None:
        """The store may have something due for this lane."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.backlog = True
            self.feed(lane)

    def feed(self, lane: Lane) -> None:
        """Send what is ready; where there is room left and the store may have more, claim."""
        if lane.ready:
            self._send(lane)
        if not lane.backlog or self._stopping:
            return
        now = self._clock.now()
        if (closed := lane.closed_until(now)) is not None:
            self._alarms.set(lane.destination.id, closed)
        elif lane.appetite(now) > 0:
            self._hungry.add(lane.destination.id)
            if self._claimer is None or self._claimer.done():
                self._claimer = asyncio.create_task(self._claim(), name="orderwire-claimer")

    def alarm(self, destination_id: str, at: int) -> None:
        """Feed the lane at an instant: a rate limit has a token then, or a hold is over."""
        self._alarms.set(destination_id, at)

    def expect(self, destination_id: str, due_at: int) -> None:
        """The store has something waiting for a lane: now, or at an instant to be woken at."""
        lane, now = self._lanes.get(destination_id), self._clock.now()
        if lane is None or not lane.active:
            return
        at = max(due_at, lane.closed_until(now) or 0)
        if at <= now:
            lane.backlog = True
        else:
            lane.due_at = at if lane.due_at is None else min(at, lane.due_at)
            self._alarms.set(destination_id, at)

    def _ring(self, destination_id: str) -> None:
        """An alarm: something in the store is due, a rate limit has a token, or a hold is over."""
        lane, now = self._lanes.get(destination_id), self._clock.now()
        if lane is None:
            return
        if lane.due_at is not None and lane.due_at <= now:
            lane.due_at, lane.backlog = None, True
        self.feed(lane)

    async def _claim(self) -> None:
        """Claim for every hungry lane, round after round, until none is hungry."""
        while self._hungry and not self._stopping:
            now = self._clock.now()
            lanes = [lane for name in self._hungry if (lane := self._lanes.get(name)) is not None]
            self._hungry.clear()
            wants = [
                Want(
                    destination=lane.destination.id,
                    tenant=lane.destination.tenant,
                    limit=appetite,
                    ordered=lane.ordered,
                )
                for lane in lanes
                if (appetite := lane.appetite(now)) > 0
            ]
            if not wants:
                return
            for want in wants:
                self._lanes[want.destination].backlog = False
            try:
                claimed = await self._store.claim(wants, now)
            except OrderwireError as error:
                log.warning("claim_failed", error=error.detail)
                for want in wants:
                    self.expect(want.destination, now + SECOND)
                return
            self._take(wants, claimed)

    def _take(self, wants: list[Want], claimed: Claimed) -> None:
        for work in claimed.works:
            lane = self._lanes.get(work.destination)
            if lane is None or not lane.active:
                self.release([work])
                continue
            self._memory.take(len(work.event.data))
            lane.ready.append(work)
        for due in claimed.due:
            self.expect(due.destination, due.due_at)
        for want in wants:
            lane = self._lanes.get(want.destination)
            if lane is not None:
                self.feed(lane)

    async def sweep(self) -> None:
        """Look for whatever waits: lanes with something due, fan-outs, lanes that are no more."""
        try:
            for due in await self._store.due_lanes():
                self.expect(due.destination, due.due_at)
                if (lane := self._lanes.get(due.destination)) is not None:
                    self.feed(lane)
                else:
                    self._orphaned(due.destination)
            while woken := await self._store.step_fanouts(FANOUT_STEP, self._clock.now()):
                for destination_id in woken:
                    self.wake(destination_id)
        except OrderwireError as error:
            log.warning("sweep_failed", error=error.detail)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            await self.sweep()

    def give_back(self, lane: Lane) -> None:
        """A lane that may not send keeps nothing in memory."""
        if lane.ready:
            works = list(lane.ready)
            lane.ready.clear()
            for work in works:
                self._memory.let_go(len(work.event.data))
            lane.backlog = True
            self.release(works)

    def take_back(self, lane: Lane, delivery_id: str) -> None:
        """Give back this one, where the lane has it ready."""
        for place, work in enumerate(lane.ready):
            if work.delivery_id == delivery_id:
                del lane.ready[place]
                self._memory.let_go(len(work.event.data))
                self.release([work])
                return

    def release(self, works: list[Work]) -> None:
        """Give claimed deliveries back to the store."""
        self.spawn(self._release(works))

    async def _release(self, works: list[Work]) -> None:
        try:
            for start in range(0, len(works), RELEASE_STEP):
                await self._store.release(works[start : start + RELEASE_STEP], self._clock.now())
        except OrderwireError as error:  # they are claimable again after the next start
            log.warning("release_failed", count=len(works), error=error.detail)
        for destination_id in {work.destination for work in works}:
            lane = self._lanes.get(destination_id)
            if lane is not None and lane.active and not self._stopping:
                hold = lane.closed_until(self._clock.now())
                self.expect(destination_id, hold) if hold is not None else self.wake(destination_id)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something that `drained` waits for."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
