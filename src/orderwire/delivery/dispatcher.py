"""The dispatcher: keeps every lane as busy as it may be, and no busier.

Deliveries come in two ways: straight from memory, from the accept that committed them as owned (`reserve`, then
`begin`), or by claim from the store. They leave by `finish`, written in batches. Nothing here waits for a receiver:
requests go to the sender, answers come back in batches on the event loop. What a crash forgets, the store knows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import structlog

from orderwire.clock import SECOND, Clock
from orderwire.delivery import attempt as attempts
from orderwire.delivery import health as health_of
from orderwire.delivery.alarms import Alarms
from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.http import Sender
from orderwire.delivery.lane import Lane
from orderwire.errors import NotFound, OrderwireError
from orderwire.ids import new_id
from orderwire.model import (
    Attempt,
    Destination,
    Event,
    LaneHealth,
    Outcome,
)
from orderwire.store.base import AcceptItem, Claimed, Finish, LaneDue, Store, Target, Want, Work

SWEEP_S = 5.0
FANOUT_STEP = 500
UNWRITTEN_MAX = 5_000  # ends of attempts waiting for the store; beyond, nothing new is started
WRITE_AGAIN_S = 1.0
LOOP_GRACE_S = 5.0
log = structlog.get_logger("orderwire.delivery")


InHand = tuple[Work, Lane, attempts.Steps]


class Reactions(Protocol):
    """What the layer above does about what attempts bring to light."""

    def announce_failed(self, work: Work, attempt: Attempt) -> AcceptItem | None:
        """The operational event of an exhausted delivery, with those who want it."""
        ...

    def disable(self, destination_id: str, reason: str) -> None:
        """Disable a destination (410, or days of nothing but failures) and tell."""
        ...

    def finished(self, pairs: Sequence[tuple[Work, Finish]]) -> None:
        """Ends of attempts, committed: for metrics and the live stream."""
        ...


class Dispatcher:
    """Lanes, and the three ways a delivery moves between store, memory and wire."""

    def __init__(  # noqa: PLR0913 - the wiring names them once
        self,
        store: Store,
        clock: Clock,
        reactions: Reactions,
        make_sender: Callable[[Callable[[list[tuple[HttpRequest, HttpAnswer]]], None]], Sender],
        *,
        memory_events_max: int = 20_000,
        memory_bytes_max: int = 64 * 1024 * 1024,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """`make_sender` builds the sender around the function that takes its answers."""
        self._store = store
        self._clock = clock
        self._reactions = reactions
        self._sender = make_sender(self._on_answers)
        self._memory_events_max = memory_events_max
        self._memory_bytes_max = memory_bytes_max
        self._sweep_s = sweep_s
        self._lanes: dict[str, Lane] = {}
        self._hungry: set[str] = set()
        self._alarms = Alarms(clock, self.wake)
        self._claimer: asyncio.Task[None] | None = None
        self._writers: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._unwritten = 0
        self._held_events = 0
        self._held_bytes = 0
        self._stopping = False

    # -- life ------------------------------------------------------------------------------------

    async def start(self, destinations: Iterable[Destination]) -> None:
        """Make the lanes, remember their health, and begin with what waits in the store."""
        remembered = {health.destination: health for health in await self._store.load_lane_health()}
        now = self._clock.now()
        for destination in destinations:
            self._lanes[destination.id] = Lane(destination, remembered.get(destination.id), now)
        self._sender.start()
        await self._sweep()
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="orderwire-sweeper")

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, let what is in flight end within `grace_s`, give the rest back to the store."""
        self._stopping = True
        for task in (self._sweeper, self._claimer):
            if task is not None:
                task.cancel()
        self._alarms.stop()
        waiting = [work for lane in self._lanes.values() for work in lane.ready]
        await self._sender.stop(grace_s)
        if self._writers:
            await asyncio.wait(self._writers, timeout=LOOP_GRACE_S)
        await self._store.release(waiting, self._clock.now())

    # -- configuration ---------------------------------------------------------------------------

    def configure(self, destination: Destination) -> None:
        """Take a new or changed destination."""
        now, lane = self._clock.now(), self._lanes.get(destination.id)
        if lane is None:
            self._lanes[destination.id] = Lane(destination, None, now)
            return
        lane.configure(destination, now, lane.destination)
        if lane.active:
            self.wake(destination.id)
        else:
            self._give_back(lane)

    def forget(self, destination_id: str) -> None:
        """The destination is gone: what it had ready goes back, to be cancelled there."""
        lane = self._lanes.pop(destination_id, None)
        if lane is not None:
            self._give_back(lane)

    def wake(self, destination_id: str) -> None:
        """The store may have something due for this lane."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.backlog = True
            self._feed(lane)

    def reset(self, destination_id: str) -> None:
        """A person resumed the destination: breaker and hold are forgotten."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.health = health_of.resumed(lane.health)
            self._spawn(self._save_health(lane.health))
            self.wake(destination_id)

    async def _save_health(self, health: LaneHealth) -> None:
        try:
            await self._store.save_lane_health(health)
        except OrderwireError as error:  # the next end of an attempt writes it
            log.warning("health_not_saved", destination=health.destination, error=error.detail)

    def lane_view(self, destination_id: str) -> Mapping[str, Any]:
        """What the lane remembers of its failures: `breaker_open`, and `hold_until` in microseconds."""
        lane = self._lanes.get(destination_id)
        health = lane.health if lane is not None else LaneHealth(destination=destination_id)
        return {"breaker_open": health.breaker_open, "hold_until": health.hold_until}

    @property
    def in_flight(self) -> int:
        """Attempts on the wire."""
        return self._sender.in_flight

    @property
    def unwell(self) -> int:
        """Lanes whose breaker is open."""
        return sum(lane.health.breaker_open for lane in self._lanes.values())

    @property
    def held(self) -> tuple[int, int]:
        """Deliveries held in memory, and the bytes of their payloads."""
        return self._held_events, self._held_bytes

    # -- from an accept --------------------------------------------------------------------------

    def reserve(self, destination: Destination, size: int) -> bool:
        """Whether a delivery about to be committed will be sent from memory. Follow with `begin` or `drop`."""
        lane = self._lanes.get(destination.id)
        if (
            lane is None
            or self._stopping
            or self._held_events >= self._memory_events_max
            or self._held_bytes + size > self._memory_bytes_max
            or not lane.may_hold(self._clock.now() if lane.health.hold_until else 0)
        ):
            return False
        lane.reserved += 1
        self._held_events += 1
        self._held_bytes += size
        return True

    def drop(self, destination_id: str, size: int) -> None:
        """A reserved delivery was not committed as owned (refused, a duplicate, or behind an ordered head)."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.reserved -= 1
        self._let_go(size)

    def begin(self, event: Event, targets: Sequence[Target], not_owned: frozenset[str]) -> None:
        """The accept is committed: send what is owned, look for the rest in the store."""
        for target in targets:
            lane = self._lanes.get(target.destination)
            if target.owned and target.delivery_id not in not_owned:
                self._queue(lane, event, target)
            elif target.owned:
                self.drop(target.destination, len(event.data))
            elif lane is not None and not lane.backlog:
                self.wake(target.destination)

    def _queue(self, lane: Lane | None, event: Event, target: Target) -> None:
        work = Work(
            delivery_id=target.delivery_id,
            tenant=event.tenant,
            destination=target.destination,
            event=event,
            ordered=target.ordered and event.subject is not None,
            reason=target.reason,
        )
        if lane is None or self._stopping:
            self._let_go(len(event.data))
            self._release([work])
            return
        lane.reserved -= 1
        lane.ready.append(work)
        if lane.active:
            self._pump(lane)
        else:
            self._give_back(lane)

    async def test(self, destination: Destination, event: Event) -> Attempt:
        """One real signed request, at once, whatever the lane's state; kept in the log, never retried."""
        lane = self._lanes.get(destination.id)
        if lane is None:
            detail = f"no destination {destination.id}"
            raise NotFound(detail)
        now = self._clock.now()
        target = Target(
            delivery_id=new_id("dlv", now), destination=destination.id, owned=True, reason=attempts.TEST
        )
        await self._store.accept([AcceptItem(event=event, targets=(target,))], now)
        work = Work(
            delivery_id=target.delivery_id,
            tenant=event.tenant,
            destination=destination.id,
            event=event,
            reason=attempts.TEST,
        )
        steps = attempts.run(work, lane, self._clock, self._reactions.announce_failed)
        answer = await self._sender.send(next(steps))
        finish = _ended(steps, answer)
        await self._store.finish([finish], self._clock.now())
        self._reactions.finished([(work, finish)])
        return finish.attempt

    # -- to the wire -----------------------------------------------------------------------------

    def _feed(self, lane: Lane) -> None:
        """Send what is ready; where there is room left and the store may have more, claim."""
        if lane.ready:
            self._pump(lane)
        if lane.backlog and not self._stopping and lane.appetite(self._clock.now()) > 0:
            self._hungry.add(lane.destination.id)
            if self._claimer is None or self._claimer.done():
                self._claimer = asyncio.create_task(self._claim(), name="orderwire-claimer")

    def _pump(self, lane: Lane) -> None:
        now = self._clock.now()
        if self._unwritten > UNWRITTEN_MAX or self._stopping:
            return
        room, requests, put_back = lane.room(now), [], []
        while room > 0 and lane.ready:
            if lane.bucket is not None and not lane.bucket.take(now):
                self._alarms.set(lane.destination.id, lane.bucket.next_at(now))
                break
            work = lane.ready.popleft()
            if lane.ordered and work.event.subject is not None:
                if work.event.subject in lane.busy_subjects:
                    put_back.append(work)
                    continue
                lane.busy_subjects.add(work.event.subject)
            steps = attempts.run(work, lane, self._clock, self._reactions.announce_failed)
            request = next(steps)
            request.tag = (work, lane, steps)
            requests.append(request)
            lane.in_flight += 1
            room -= 1
        lane.ready.extendleft(reversed(put_back))
        if requests:
            self._sender.submit(requests)
        if lane.ready and (hold := lane.closed_until(now)) is not None:
            self._alarms.set(lane.destination.id, hold)

    def _on_answers(self, answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        """A batch of answers: judge each, write all their ends together, start what they made room for."""
        ended: list[tuple[Work, Finish]] = []
        released: list[Work] = []
        touched: dict[str, Lane] = {}
        for request, answer in answers:
            work, lane, steps = cast("InHand", request.tag)  # as _pump set it
            lane.in_flight -= 1
            self._let_go(len(work.event.data))
            if lane.ordered and work.event.subject is not None:
                lane.busy_subjects.discard(work.event.subject)
            touched[work.destination] = lane
            if answer.error is SendError.ABORTED:
                released.append(work)
                continue
            finish = _ended(steps, answer)
            ended.append((work, finish))
            self._react(work, lane, finish)
        if released:
            self._release(released)
        if ended:
            self._unwritten += len(ended)
            self._spawn(self._write(ended))
        for lane in touched.values():
            self._feed(lane)

    def _react(self, work: Work, lane: Lane, finish: Finish) -> None:
        if finish.attempt.outcome is Outcome.DELIVERED:
            return
        if finish.attempt.outcome is Outcome.GONE:
            self._reactions.disable(work.destination, "gone")
        elif health_of.to_disable(lane.health, self._clock.now()):
            self._reactions.disable(work.destination, "failing")
        if lane.ready and (lane.health.breaker_open or lane.health.hold_until is not None):
            self._give_back(lane)

    # -- to and from the store -------------------------------------------------------------------

    async def _write(self, ended: list[tuple[Work, Finish]]) -> None:
        """Write ends of attempts. What the store cannot take now is kept and tried again: it did happen."""
        finishes = [finish for _, finish in ended]
        while True:
            try:
                await self._store.finish(finishes, self._clock.now())
                break
            except OrderwireError as error:
                log.warning("outcomes_not_written", count=len(finishes), error=error.detail)
                if self._stopping:  # a restart sends them again: at least once
                    return
                await asyncio.sleep(WRITE_AGAIN_S)
        self._unwritten -= len(ended)
        self._reactions.finished(ended)
        for work, finish in ended:
            lane = self._lanes.get(work.destination)
            if lane is None:
                continue
            if finish.due_at is not None:
                self._alarms.set(lane.destination.id, finish.due_at)
            if (finish.ordered and finish.status.finished) or finish.manual:
                self.wake(work.destination)
            for item in finish.announcements:
                for target in item.targets:
                    self.wake(target.destination)

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
                    self._alarms.set(want.destination, now + SECOND)
                return
            self._take(wants, claimed)

    def _take(self, wants: list[Want], claimed: Claimed) -> None:
        for work in claimed.works:
            lane = self._lanes.get(work.destination)
            if lane is None or not lane.active:
                self._release([work])
                continue
            self._held_events += 1
            self._held_bytes += len(work.event.data)
            lane.ready.append(work)
        for due in claimed.due:
            self._expect(due)
        for want in wants:
            lane = self._lanes.get(want.destination)
            if lane is not None:
                self._feed(lane)

    def _expect(self, due: LaneDue) -> None:
        """The store has something waiting for a lane: now, or at an instant to be woken at."""
        lane, now = self._lanes.get(due.destination), self._clock.now()
        if lane is None or not lane.active:
            return
        at = max(due.due_at, lane.closed_until(now) or 0)
        if at <= now:
            lane.backlog = True
        else:
            self._alarms.set(due.destination, at)

    async def _sweep(self) -> None:
        try:
            for due in await self._store.due_lanes():
                self._expect(due)
                if (lane := self._lanes.get(due.destination)) is not None:
                    self._feed(lane)
            while woken := await self._store.step_fanouts(FANOUT_STEP, self._clock.now()):
                for destination_id in woken:
                    self.wake(destination_id)
        except OrderwireError as error:
            log.warning("sweep_failed", error=error.detail)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            await self._sweep()

    def fan_out(self) -> None:
        """A fan-out was committed: work it off now, not at the next sweep."""
        self._spawn(self._sweep())

    def _give_back(self, lane: Lane) -> None:
        """A lane that may not send keeps nothing in memory."""
        if lane.ready:
            works = list(lane.ready)
            lane.ready.clear()
            for work in works:
                self._let_go(len(work.event.data))
            lane.backlog = True
            self._release(works)

    def _release(self, works: list[Work]) -> None:
        self._spawn(self._release_all(works))

    async def _release_all(self, works: list[Work]) -> None:
        try:
            await self._store.release(works, self._clock.now())
        except OrderwireError as error:  # they are claimable again after the next start
            log.warning("release_failed", count=len(works), error=error.detail)
        for destination_id in {work.destination for work in works}:
            lane = self._lanes.get(destination_id)
            if lane is not None and lane.active and not self._stopping:
                hold = lane.closed_until(self._clock.now())
                self._alarms.set(destination_id, hold) if hold is not None else self.wake(destination_id)

    # -- inside ----------------------------------------------------------------------------------

    def _let_go(self, size: int) -> None:
        self._held_events -= 1
        self._held_bytes -= size

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._writers.add(task)
        task.add_done_callback(self._writers.discard)


def _ended(steps: attempts.Steps, answer: HttpAnswer) -> Finish:
    """Resume an attempt with its answer; it returns how it ended."""
    try:
        steps.send(answer)
    except StopIteration as stop:
        finish: Finish = stop.value
        return finish
    msg = "an attempt asked for a second request"
    raise AssertionError(msg)
