"""The thread that carries requests out: libcurl's multi interface driven by epoll.

`Sender` puts requests in and takes answers out; both cross the threads in batches with one wake each. libcurl says
which sockets it waits for (`_on_socket`) and when it wants to be woken (`_on_timer`); each turn of `_turn` hands it
what happened and gathers what finished. Nothing here raises out of the thread: a broken transfer gets an answer.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

import pycurl

from orderwire.delivery.egress import EgressPolicy
from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.resolver import Lookup, Resolver
from orderwire.delivery.transfer import Transfer

EVENTS_PER_TURN_MAX = 512
STARTS_PER_TURN_MAX = 256
SWEEP_S = 1.0
OVERDUE_S = 5.0
PAUSE_AFTER_ERROR_S = 0.01

_EPOLL_FLAGS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_CURL_FLAGS = {
    flags: (pycurl.CSELECT_IN if flags & ~select.EPOLLOUT else 0)
    | (pycurl.CSELECT_OUT if flags & select.EPOLLOUT else 0)
    | (pycurl.CSELECT_ERR if flags & (select.EPOLLERR | select.EPOLLHUP) else 0)
    for flags in range(1 << 6)
}
_TIMED_OUT = 28
_TIMEOUT_DETAIL = "the whole answer did not arrive in time"
_ABORT_DETAIL = "the node stopped or gave this request up before its answer was complete"

type_finished = list[tuple[HttpRequest, HttpAnswer]]


class Engine:
    """Everything that lives on the sending thread. Only `submit`, `abort`, `finish` and `internal_errors` are for others."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        connections_max: int,
        ca_file: str | None,
        http2: bool,
        hand_over: Callable[[type_finished], None],
    ) -> None:
        self.internal_errors = 0
        self._policy = policy
        self._ca_file = ca_file
        self._http2 = http2
        self._idle_max = connections_max
        self._hand_over = hand_over
        self._inbox: deque[HttpRequest] = deque()
        self._commands: deque[Callable[[], None]] = deque()
        self._awake = False
        self._ending = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._watched: dict[int, int] = {}
        self._due: float | None = None
        self._sweep_due = 0.0
        self._active: dict[Any, Transfer] = {}
        self._idle: list[Transfer] = []
        self._finished: type_finished = []
        self._looking_up: dict[tuple[str, int], list[tuple[HttpRequest, float]]] = {}
        self._resolver = Resolver(self._on_found) if policy.proxy_url is not None else None
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections_max)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    # What other threads may call.

    def submit(self, requests: Iterable[HttpRequest]) -> None:
        """Queue requests; wakes the thread only when it sleeps."""
        self._inbox.extend(requests)
        self._wake()

    def abort(self, tags: Collection[object]) -> None:
        """Give up every unfinished request whose tag is in `tags`: each is answered ABORTED."""
        self._commands.append(lambda: self._abort_where(lambda request: request.tag in tags))
        self._wake()

    def finish(self) -> None:
        """Answer everything unfinished with ABORTED and end the thread."""
        self._commands.append(self._end)
        self._wake()

    def run(self) -> None:
        """The thread's body; returns after `finish`."""
        while not self._ending:
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - the thread must live; counted, and the sweep ends what it broke
                self.internal_errors += 1
                time.sleep(PAUSE_AFTER_ERROR_S)
        self._close()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True  # before the write: the thread clears it before it sleeps, never after
            os.eventfd_write(self._wake_fd, 1)

    # One turn.

    def _turn(self) -> None:
        self._awake = False
        waiting = self._inbox or self._commands
        events = self._epoll.poll(0 if waiting else self._sleep_s(), EVENTS_PER_TURN_MAX)
        self._awake = True
        watched, socket_action = self._watched, self._multi.socket_action
        for fd, flags in events:
            if fd in watched:
                socket_action(fd, _CURL_FLAGS[flags & 63])
            elif fd == self._wake_fd:
                os.eventfd_read(fd)
            else:  # a connection resting in libcurl's cache was closed by its peer
                self._epoll.unregister(fd)
        while self._commands:
            self._commands.popleft()()
        if self._inbox:
            self._start_batch()
        now = time.monotonic()
        if self._due is not None and self._due <= now:
            self._due = None
            socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._gather()
        if now >= self._sweep_due:
            self._sweep(now)
        if self._finished:
            finished, self._finished = self._finished, []
            self._hand_over(finished)

    def _sleep_s(self) -> float:
        """How long to sleep at most, in seconds; -1 for until woken."""
        sleep = SWEEP_S if self._active or self._looking_up else -1.0
        if self._due is None:
            return sleep
        until = max(0.0, self._due - time.monotonic())
        return until if sleep < 0 else min(until, sleep)

    def _start_batch(self) -> None:
        inbox = self._inbox
        now_us = time.time_ns() // 1000
        for _ in range(min(len(inbox), STARTS_PER_TURN_MAX)):
            request = inbox.popleft()
            try:
                self._start(request, now_us)
            except (ValueError, TypeError, pycurl.error) as error:
                self._refuse(request, SendError.BAD_REQUEST, f"the request cannot be sent as it is: {error}")
            except Exception as error:  # noqa: BLE001 - one odd request must not cost the others theirs
                self.internal_errors += 1
                self._refuse(request, SendError.INTERNAL, f"the request could not be started ({type(error).__name__})")

    def _start(self, request: HttpRequest, now_us: int) -> None:
        problem = None if request.url.startswith("https://") else self._policy.scheme_problem(request.url)
        if problem is not None:
            self._refuse(request, SendError.BLOCKED_SCHEME, problem)
        elif self._resolver is None:
            self._launch(request, now_us, request.timeout_s, None)
        else:
            self._look_up(request)

    def _launch(self, request: HttpRequest, now_us: int, timeout_s: float, connect_to: str | None) -> None:
        transfer = (
            self._idle.pop() if self._idle and request.tls is None else self._new_transfer(request)
        )
        try:
            transfer.prepare(request, timeout_s=timeout_s, connect_to=connect_to)
            transfer.started_at_us = now_us
            self._multi.add_handle(transfer.curl)
        except BaseException:
            transfer.close()
            raise
        self._active[transfer.curl] = transfer

    def _new_transfer(self, request: HttpRequest) -> Transfer:
        return Transfer(self._policy, ca_file=self._ca_file, http2=self._http2, tls=request.tls)

    def _gather(self) -> None:
        if not self._active:
            return
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            for curl in done:
                self._conclude(curl, 0, "")
            for curl, code, message in failed:
                self._conclude(curl, code, message)

    def _conclude(self, curl: Any, code: int, message: str) -> None:
        transfer = self._active.pop(curl)
        request = transfer.request
        try:
            self._finished.append((request, transfer.answer(code, message)))
            self._multi.remove_handle(curl)
            transfer.rest()
        except Exception as error:  # noqa: BLE001 - the request gets its answer all the same
            self.internal_errors += 1
            transfer.pooled = False
            self._refuse(request, SendError.INTERNAL, f"the answer could not be read ({type(error).__name__})")
        if transfer.pooled and len(self._idle) < self._idle_max:
            self._idle.append(transfer)
        else:
            transfer.close()

    def _refuse(self, request: HttpRequest, error: SendError, detail: str) -> None:
        now_us = time.time_ns() // 1000
        self._finished.append((request, HttpAnswer(None, b"", b"", False, error, detail, now_us, 0.0)))  # noqa: FBT003

    # What libcurl tells us, from inside `socket_action`.

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """A socket to wait for, or no longer.

        A socket no longer waited for stays in epoll (it is about to be used again); one that closes leaves epoll by
        itself, and its number, used again, is found missing by `modify`.
        """
        if what == pycurl.POLL_REMOVE or what == pycurl.POLL_NONE:
            self._watched.pop(fd, None)
            return
        flags = self._watched[fd] = _EPOLL_FLAGS[what]
        try:
            self._epoll.modify(fd, flags)
        except FileNotFoundError:
            self._epoll.register(fd, flags)

    def _on_timer(self, timeout_ms: int) -> None:
        self._due = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000.0

    # Behind an egress proxy: resolve, check, connect to the checked address.

    def _look_up(self, request: HttpRequest) -> None:
        parts = urlsplit(request.url)
        name = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        waiting = (request, time.monotonic())
        assert self._resolver is not None
        if (found := self._resolver.cached(*name)) is not None:
            self._connect(waiting, found)
        elif name in self._looking_up:
            self._looking_up[name].append(waiting)
        else:
            self._looking_up[name] = [waiting]
            self._resolver.look_up(*name)

    def _on_found(self, lookup: Lookup) -> None:
        """On a resolver's thread."""
        self._commands.append(lambda: self._connect_waiting(lookup))
        self._wake()

    def _connect_waiting(self, lookup: Lookup) -> None:
        for waiting in self._looking_up.pop((lookup.host, lookup.port), ()):
            try:
                self._connect(waiting, lookup)
            except Exception as error:  # noqa: BLE001 - each waiting request gets its own answer
                self._refuse(waiting[0], SendError.BAD_REQUEST, f"the request cannot be sent as it is: {error}")

    def _connect(self, waiting: tuple[HttpRequest, float], lookup: Lookup) -> None:
        request, since = waiting
        if lookup.error:
            self._refuse(request, SendError.DNS_FAILED, lookup.error)
            return
        refusals = [self._policy.check(address) for address in lookup.addresses]
        allowed = [address for address, refusal in zip(lookup.addresses, refusals, strict=True) if refusal is None]
        if not allowed:
            self._refuse(request, SendError.BLOCKED_ADDRESS, refusals[0] or f"{lookup.host} has no address")
            return
        address = f"[{allowed[0]}]" if ":" in allowed[0] else allowed[0]
        left_s = max(0.001, request.timeout_s - (time.monotonic() - since))
        # Empty host and port match every host, however libcurl spells it: it cannot connect to anything unchecked.
        self._launch(request, time.time_ns() // 1000, left_s, f"::{address}:{lookup.port}")

    # Deadlines of our own, giving up, and the end.

    def _sweep(self, now: float) -> None:
        """End what libcurl should have ended: nothing may stay in flight beyond its time, whatever went wrong."""
        self._sweep_due = now + SWEEP_S
        for name, waiting in list(self._looking_up.items()):
            for entry in [entry for entry in waiting if now - entry[1] >= entry[0].timeout_s]:
                waiting.remove(entry)
                self._refuse(entry[0], SendError.TIMEOUT, f"{name[0]} was not resolved in time")
        now_us = time.time_ns() // 1000
        for curl, transfer in list(self._active.items()):
            if now_us - transfer.started_at_us > (transfer.request.timeout_s + OVERDUE_S) * 1_000_000:
                transfer.pooled = False
                self._conclude(curl, _TIMED_OUT, "")

    def _abort_where(self, chosen: Callable[[HttpRequest], bool]) -> None:
        for request in [request for request in self._inbox if chosen(request)]:
            self._inbox.remove(request)
            self._refuse(request, SendError.ABORTED, _ABORT_DETAIL)
        for waiting in self._looking_up.values():
            for entry in [entry for entry in waiting if chosen(entry[0])]:
                waiting.remove(entry)
                self._refuse(entry[0], SendError.ABORTED, _ABORT_DETAIL)
        for curl, transfer in list(self._active.items()):
            if chosen(transfer.request):
                del self._active[curl]
                self._multi.remove_handle(curl)
                self._refuse(transfer.request, SendError.ABORTED, _ABORT_DETAIL)
                transfer.close()

    def _end(self) -> None:
        self._abort_where(lambda _request: True)
        self._ending = True

    def _close(self) -> None:
        for transfer in self._idle:
            transfer.close()
        if self._resolver is not None:
            self._resolver.stop()
        self._multi.close()
        self._epoll.close()
        os.close(self._wake_fd)
