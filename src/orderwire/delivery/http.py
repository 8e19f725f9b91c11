"""The only door out: sends HTTP requests for everything tenants configure, and for vendors' APIs.

`Sender` lives on one asyncio loop. Requests go in by `submit`, every one of them comes back once through `on_answers`,
in one batch for each turn of the loop; `send` is the same for one request with an await. Never follows redirects,
never reaches a refused address (`egress`), verifies TLS always.

    submit -> route (where to, which bytes) -> pool (a resting connection) or connector (a new one)
           -> connection (sends, reads) -> on_answers
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence

from orderwire.delivery.connector import Connector
from orderwire.delivery.egress import EgressPolicy, url_problem
from orderwire.delivery.exchange import (
    BODY_KEPT_BYTES_MAX,
    BODY_READ_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpAnswer,
    HttpRequest,
    SendError,
    TlsOptions,
)
from orderwire.delivery.flight import Flight, SendFailure, unanswered
from orderwire.delivery.pool import Pool
from orderwire.delivery.resolver import Resolver
from orderwire.delivery.route import Identity, Origin, Route, Target
from orderwire.delivery.tls import Contexts, public_authorities_file

__all__ = [
    "BODY_KEPT_BYTES_MAX",
    "BODY_READ_BYTES_MAX",
    "HEADER_BYTES_MAX",
    "EgressPolicy",
    "HttpAnswer",
    "HttpRequest",
    "SendError",
    "Sender",
    "TlsOptions",
    "url_problem",
]

CONNECTIONS_MAX_DEFAULT = 1000
ROUTES_MAX = 10_000
DEADLINE_STEP_S = 0.05
LATE_S = 0.002  # uvloop's clock counts milliseconds: a timer may ring that much before its time
CLOSE_GRACE_S = 2.0

Answers = list[tuple[HttpRequest, HttpAnswer]]

_ABORT_DETAIL = "the node stopped or gave this request up before its answer was complete"


class Sender:
    """Sends requests and brings every answer back to the loop in batches.

    `on_answers` is called on the loop; if it raises, the loop's exception handler hears of it and sending goes on.
    `connections_max` bounds the idle connections kept, not the requests in flight: that bound is the caller's.
    `internal_errors` counts what was unforeseen (such requests were answered all the same).
    """

    def __init__(
        self,
        egress: EgressPolicy,
        *,
        on_answers: Callable[[Answers], None],
        loop: asyncio.AbstractEventLoop,
        connections_max: int = CONNECTIONS_MAX_DEFAULT,
        ca_file: str | None = None,
    ) -> None:
        """Raises ValueError for a proxy's URL that cannot be used."""
        self.in_flight = 0
        self.callback_errors = 0
        self.internal_errors = 0
        self._loop = loop
        self._on_answers = on_answers
        self._policy = egress
        self._answers: Answers = []
        self._announced = False
        self._stopping = False
        self._waiters: dict[HttpRequest, asyncio.Future[HttpAnswer]] = {}
        self._empty = asyncio.Event()
        self._routes: dict[tuple[str, str, Identity | None], Route] = {}
        self._origins: dict[tuple[str, int, bool, Identity | None], Origin] = {}
        self._active: set[Flight] = set()
        self._due_s = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._resolver = Resolver(loop)
        self._pool = Pool(
            loop, connections_max, finish=self._finish, again=self._start_connecting, unforeseen=self._end_unforeseen
        )
        contexts = Contexts(ca_file or public_authorities_file())
        self._connector = Connector(loop, egress, self._resolver, contexts, self._pool)

    def start(self) -> None:
        """Be ready. (Threads that look up names are started when there are names to look up.)."""

    def submit(self, requests: Sequence[HttpRequest]) -> None:
        """Send these; call on the loop. Each comes back once through `on_answers`. RuntimeError after `stop`."""
        if self._stopping:
            raise RuntimeError("the sender is stopping")
        self.in_flight += len(requests)
        now_s, now_us = time.monotonic(), time.time_ns() // 1000
        for request in requests:
            try:
                flight = self._new_flight(request, now_s, now_us)
            except Exception as error:  # noqa: BLE001 - one odd request must not cost the others theirs
                self._bring(request, self._refusal(error, now_us))
                continue
            try:
                self._launch(flight, now_s)
            except Exception as error:  # noqa: BLE001 - the same
                self._end_unforeseen(flight, error)

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Send one and wait for its answer, which does not go through `on_answers`. RuntimeError after `stop`."""
        waiter: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._waiters[request] = waiter
        try:
            self.submit((request,))
        except BaseException:
            del self._waiters[request]
            raise
        return await waiter

    def abort(self, tags: Collection[object]) -> None:
        """Give up every unfinished request whose `tag` is in `tags`; each comes back ABORTED."""
        chosen = frozenset(tags)
        for flight in [flight for flight in self._active if flight.request.tag in chosen]:
            self._give_up(flight, SendError.ABORTED, _ABORT_DETAIL)

    async def stop(self, grace_s: float) -> None:
        """Take no more, wait up to `grace_s` for what is in flight, abort the rest, close every connection.

        When it returns, every request has come back.
        """
        self._stopping = True
        try:
            if self.in_flight:
                self._empty.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._empty.wait(), grace_s)
        finally:
            for flight in list(self._active):
                self._give_up(flight, SendError.ABORTED, _ABORT_DETAIL)
            self._pool.close()
            self._resolver.stop()
            if self._timer is not None:
                self._timer.cancel()
            self._take_answers()
        if self._connecting:
            await asyncio.wait(self._connecting, timeout=CLOSE_GRACE_S)
        await self._pool.emptied(CLOSE_GRACE_S)

    # The way of a request.

    def _new_flight(self, request: HttpRequest, now_s: float, now_us: int) -> Flight:
        """Raises SendFailure, ValueError or TypeError where the request cannot be sent."""
        identity = None if request.tls is None else Identity.of(request.tls)
        route = self._routes.get((request.url, request.method, identity))
        if route is None:
            route = self._new_route(request.url, request.method, identity)
        return Flight(request, route, route.wire(request), now_s, now_us)

    def _launch(self, flight: Flight, now_s: float) -> None:
        self._active.add(flight)
        if flight.deadline_s < self._due_s:
            self._sweep_at(flight.deadline_s, now_s)
        origin = flight.route.origin
        if origin.idle and not flight.request.at_most_once:
            self._pool.take(origin).carry(flight)
        else:
            self._start_connecting(flight)

    def _new_route(self, url: str, method: str, identity: Identity | None) -> Route:
        if problem := self._policy.scheme_problem(url):
            raise SendFailure(SendError.BLOCKED_SCHEME, problem)
        target = Target(url, method)
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
            self._origins = {key: origin for key, origin in self._origins.items() if origin.idle}
        key = (target.host, target.port, target.secure, identity)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(target.host, target.port, secure=target.secure, identity=identity)
        route = self._routes[url, method, identity] = Route(origin, target.head, method)
        return route

    def _start_connecting(self, flight: Flight) -> None:
        flight.retried = flight.connection is not None
        flight.connection = None
        task = flight.connecting = self._loop.create_task(self._connect(flight))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, flight: Flight) -> None:
        try:
            connection = await self._connector.connect(flight)
            flight.connecting = None
            connection.carry(flight)
        except SendFailure as failure:
            self._finish(flight, flight.unanswered(failure.error, failure.detail, time.monotonic()))
        except ValueError as error:  # a host that cannot be a TLS server's name
            self._finish(flight, self._refusal(error, flight.started_at_us))
        except Exception as error:  # noqa: BLE001 - the request gets its answer all the same
            self._end_unforeseen(flight, error)

    def _finish(self, flight: Flight, answer: HttpAnswer) -> None:
        if flight in self._active:
            self._active.remove(flight)
            self._bring(flight.request, answer)
        else:  # it has been answered: never twice
            self.internal_errors += 1

    def _end_unforeseen(self, flight: Flight, error: Exception) -> None:
        self.internal_errors += 1
        if flight in self._active:
            self._active.remove(flight)
            self._bring(flight.request, flight.unanswered(SendError.INTERNAL, _unforeseen(error), time.monotonic()))

    def _give_up(self, flight: Flight, error: SendError, detail: str) -> None:
        if flight.connection is not None:
            self._finish(flight, flight.connection.give_up(flight, error, detail))
        else:
            if flight.connecting is not None:
                flight.connecting.cancel()
            self._finish(flight, flight.unanswered(error, detail, time.monotonic()))

    def _refusal(self, error: Exception, started_at_us: int) -> HttpAnswer:
        if isinstance(error, SendFailure):
            return unanswered(error.error, error.detail, started_at_us)
        if isinstance(error, ValueError | TypeError):
            return unanswered(SendError.BAD_REQUEST, f"the request cannot be sent as it is: {error}", started_at_us)
        self.internal_errors += 1
        return unanswered(SendError.INTERNAL, _unforeseen(error), started_at_us)

    # Answers, to the loop in batches.

    def _bring(self, request: HttpRequest, answer: HttpAnswer) -> None:
        self._answers.append((request, answer))
        if not self._announced:
            self._announced = True
            self._loop.call_soon(self._take_answers)

    def _take_answers(self) -> None:
        self._announced = False
        answers, self._answers = self._answers, []
        self.in_flight -= len(answers)
        if self._waiters:
            answers = [pair for pair in answers if not self._answer_waiter(*pair)]
        if answers:
            try:
                self._on_answers(answers)
            except Exception as error:  # noqa: BLE001 - the caller's fault must not stop the sending
                self.callback_errors += 1
                self._loop.call_exception_handler({"message": "on_answers raised", "exception": error})
        if self._stopping and self.in_flight == 0:
            self._empty.set()

    def _answer_waiter(self, request: HttpRequest, answer: HttpAnswer) -> bool:
        waiter = self._waiters.pop(request, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)
        return waiter is not None

    # Deadlines: one timer, at the earliest of them all, however many requests are on their way.

    def _sweep_at(self, due_s: float, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._loop.call_later(max(due_s - now_s, 0.0) + LATE_S, self._sweep)

    def _sweep(self) -> None:
        now_s = time.monotonic()
        for flight in [flight for flight in self._active if flight.deadline_s <= now_s]:
            try:
                self._give_up(flight, SendError.TIMEOUT, flight.stage.value)
            except Exception as error:  # noqa: BLE001 - the others' time is up as well
                self._end_unforeseen(flight, error)
        self._timer, self._due_s = None, float("inf")
        if self._active:
            earliest_s = min(flight.deadline_s for flight in self._active)
            self._sweep_at(max(earliest_s, now_s + DEADLINE_STEP_S), now_s)


def _unforeseen(error: Exception) -> str:
    return f"something unforeseen happened ({type(error).__name__})"
