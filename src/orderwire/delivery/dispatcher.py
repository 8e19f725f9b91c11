"""The dispatcher: keeps every lane as busy as it may be, and no busier.

Deliveries come in two ways: straight from memory, from the accept that committed them as owned (`reserve`, then
`begin`), or by claim from the store. They leave by `finish`, written in batches. Nothing here waits for a receiver:
requests go to the sender, answers come back in batches on the event loop. What a crash forgets, the store knows.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import structlog

from orderwire.clock import Clock
from orderwire.delivery import attempt as attempts
from orderwire.delivery import health as health_of
from orderwire.delivery.endings import Ended, Endings
from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.http import Sender
from orderwire.delivery.lane import Lane
from orderwire.delivery.supply import Memory, Supply
from orderwire.errors import NotFound, OrderwireError
from orderwire.ids import new_id
from orderwire.model import (
    Attempt,
    Destination,
    Event,
    LaneHealth,
    Outcome,
)
from orderwire.store.base import AcceptItem, Finish, Store, Target, Work

SWEEP_S = 5.0
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

    def orphaned(self, destination_id: str) -> None:
        """Something waits for a destination that is no more."""
        ...

    def finished(self, pairs: Sequence[tuple[Work, Finish]]) -> None:
        """Ends of attempts, committed: for metrics and the live stream."""
        ...


class Dispatcher:
    """Lanes, and the three ways a delivery moves between store, memory and wire."""

    def __init__(
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
        self._memory = Memory(memory_events_max, memory_bytes_max)
        self._lanes: dict[str, Lane] = {}
        self._supply = Supply(store, clock, self._lanes, self._memory, self._pump, reactions.orphaned, sweep_s)
        self._endings = Endings(store, clock, self._written)
        self._stopping = False
        self._begun: set[Lane] = set()
        self._held_up = False  # lanes wait until the store has taken what already happened

    # -- life ------------------------------------------------------------------------------------

    async def start(self, destinations: Iterable[Destination]) -> None:
        """Make the lanes, remember their health, and begin with what waits in the store."""
        remembered = {health.destination: health for health in await self._store.load_lane_health()}
        now = self._clock.now()
        for destination in destinations:
            self._lanes[destination.id] = Lane(destination, remembered.get(destination.id), now)
        self._sender.start()
        await self._supply.start()

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, let what is in flight end within `grace_s`, give the rest back to the store."""
        self._stopping = True
        self._supply.stop()
        for lane in self._lanes.values():
            self._supply.give_back(lane)
        await self._sender.stop(grace_s)
        await self._endings.stop()
        await self._supply.drained()

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
            self._supply.give_back(lane)

    def forget(self, destination_id: str) -> None:
        """The destination is gone: what it had ready goes back, to be cancelled there."""
        lane = self._lanes.pop(destination_id, None)
        if lane is not None:
            self._supply.give_back(lane)

    def wake(self, destination_id: str) -> None:
        """The store may have something due for this lane."""
        self._supply.wake(destination_id)

    def recall(self, destination_id: str, delivery_id: str) -> None:
        """A delivery was cancelled: where it waits in memory it goes back unsent; an ordered subject's next may go."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            self._supply.take_back(lane, delivery_id)
            self.wake(destination_id)

    def reset(self, destination_id: str) -> None:
        """A person resumed the destination: breaker and hold are forgotten."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.health = health_of.resumed(lane.health)
            self._supply.spawn(self._save_health(lane.health))
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
        return self._memory.events, self._memory.bytes

    # -- from an accept --------------------------------------------------------------------------

    def reserve(self, destination: Destination, size: int) -> bool:
        """Whether a delivery about to be committed will be sent from memory. Follow with `begin` or `drop`."""
        lane = self._lanes.get(destination.id)
        if (
            lane is None
            or self._stopping
            or not self._memory.has_room(size)
            or len(lane.ready) + lane.reserved >= self._memory.lane_events_max
            or not lane.may_hold(self._clock.now() if lane.health.hold_until else 0)
        ):
            return False
        lane.reserved += 1
        self._memory.take(size)
        return True

    def drop(self, destination_id: str, size: int) -> None:
        """A reserved delivery was not committed as owned (refused, a duplicate, or behind an ordered head)."""
        lane = self._lanes.get(destination_id)
        if lane is not None:
            lane.reserved -= 1
        self._memory.let_go(size)

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
            self._memory.let_go(len(event.data))
            self._supply.release([work])
            return
        lane.reserved -= 1
        lane.ready.append(work)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._send_begun)
        self._begun.add(lane)

    def _send_begun(self) -> None:
        """Once a turn of the loop, for all that one commit brought: lanes are filled and sent in batches."""
        lanes, self._begun = self._begun, set()
        for lane in lanes:
            if lane.active:
                self._pump(lane)
            else:
                self._supply.give_back(lane)

    async def test(self, destination: Destination, event: Event) -> Attempt:
        """One real signed request, at once, whatever the lane's state; kept in the log, never retried."""
        lane = self._lanes.get(destination.id)
        if lane is None:
            detail = f"no destination {destination.id}"
            raise NotFound(detail)
        now = self._clock.now()
        target = Target(delivery_id=new_id("dlv", now), destination=destination.id, owned=True, reason=attempts.TEST)
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

    def _pump(self, lane: Lane) -> None:
        now = self._clock.now()
        if self._stopping:
            return
        if self._endings.full:
            self._held_up = True
            return
        room, requests, put_back = lane.room(now), [], []
        while room > 0 and lane.ready:
            subject = lane.ready[0].event.subject if lane.ordered else None
            if subject in lane.busy_subjects:
                put_back.append(lane.ready.popleft())
                continue
            if lane.bucket is not None and not lane.bucket.take(now):
                self._supply.alarm(lane.destination.id, lane.bucket.next_at(now))
                break
            work = lane.ready.popleft()
            if subject is not None:
                lane.busy_subjects.add(subject)
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
            self._supply.alarm(lane.destination.id, hold)

    def _on_answers(self, answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        """A batch of answers: judge each, write all their ends together, start what they made room for."""
        ended: Ended = []
        released: list[Work] = []
        touched: dict[str, Lane] = {}
        for request, answer in answers:
            work, lane, steps = cast("InHand", request.tag)  # as _pump set it
            lane.in_flight -= 1
            self._memory.let_go(len(work.event.data))
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
            self._supply.release(released)
        if ended:
            self._endings.add(ended)
        for lane in touched.values():
            self._supply.feed(lane)

    def _react(self, work: Work, lane: Lane, finish: Finish) -> None:
        if finish.attempt.outcome is Outcome.DELIVERED:
            return
        if finish.attempt.outcome is Outcome.GONE:
            self._reactions.disable(work.destination, "gone")
        elif health_of.to_disable(lane.health, self._clock.now()):
            self._reactions.disable(work.destination, "failing")
        if lane.ready and (lane.health.breaker_open or lane.health.hold_until is not None):
            self._supply.give_back(lane)

    # -- to and from the store -------------------------------------------------------------------

    def _written(self, ended: Ended) -> None:
        """What is written may be looked for: retries, the next of an ordered subject, announcements."""
        self._reactions.finished(ended)
        if self._held_up and not self._endings.full:
            self._held_up = False
            for lane in self._lanes.values():
                self._supply.feed(lane)
        for work, finish in ended:
            if finish.due_at is not None:
                self._supply.expect(work.destination, finish.due_at)
            if finish.ordered or finish.manual:  # a head may be done, or have been cancelled meanwhile
                self.wake(work.destination)
            for item in finish.announcements:
                for target in item.targets:
                    self.wake(target.destination)

    def fan_out(self) -> None:
        """A fan-out was committed: work it off now, not at the next sweep."""
        self._supply.spawn(self._supply.sweep())


def _ended(steps: attempts.Steps, answer: HttpAnswer) -> Finish:
    """Resume an attempt with its answer; it returns how it ended."""
    try:
        steps.send(answer)
    except StopIteration as stop:
        finish: Finish = stop.value
        return finish
    msg = "an attempt asked for a second request"
    raise AssertionError(msg)
