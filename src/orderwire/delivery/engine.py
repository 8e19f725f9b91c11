"""The thread that carries requests out: libcurl's multi interface driven by epoll.

`Sender` puts requests in and takes answers out; both cross the threads in batches with one wake each. libcurl says
which sockets it waits for (`_on_socket`) and when it wants to be woken (`_on_timer`); each turn of `_turn` hands it
what happened and gathers what finished. Nothing here raises out of the thread: a broken transfer gets an answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

import pycurl

from orderwire.delivery.egress import HOST_NAME, EgressPolicy
from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.resolver import Lookup, Resolver, Waiting, Waitlist
from orderwire.delivery.transfer import Transfer, Way

EVENTS_PER_TURN_MAX = 512
STARTS_PER_TURN_MAX = 256
WARM_URLS_MAX = 10_000
SWEEP_S = 1.0
LOOKUP_SWEEP_S = 0.1
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
_ABORT_DETAIL = "the node stopped or gave this request up before its answer was complete"

Finished = list[tuple[HttpRequest, HttpAnswer]]


class Engine:
    """All that lives on the sending thread. Only `submit`, `abort`, `finish` and `internal_errors` are for others."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        connections_max: int,
        ca_file: str | None,
        http2: bool,
        hand_over: Callable[[Finished], None],
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
        self._closed = False
        self._wake_lock = threading.Lock()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._watched: dict[int, int] = {}
        self._due: float | None = None
        self._timers_ms: deque[int] = deque(maxlen=1)
        self._sweep_due = 0.0
        self._active: dict[Any, Transfer] = {}
        self._idle: list[Transfer] = []
        self._finished: Finished = []
        self._warm: dict[str, float] = {}  # URLs whose host libcurl can place, and until when (monotonic)
        self._waitlist = Waitlist()
        self._resolver = Resolver(self._on_found)
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections_max)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        # libcurl names a new time (twice a request): a bound method of C keeps Python out of it; `_turn` looks.
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._timers_ms.append)

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
            with self._wake_lock:  # a late resolver must not write to a number that names another file by now
                if not self._closed:
                    os.eventfd_write(self._wake_fd, 1)

    # One turn.

    def _turn(self) -> None:
        self._awake = False
        waiting = self._inbox or self._commands
        events = self._epoll.poll(0 if waiting else self._sleep_s(), EVENTS_PER_TURN_MAX)
        self._awake = True
        for fd, flags in events:
            try:
                self._take_event(fd, flags)
            except Exception:  # noqa: BLE001 - one socket's trouble must not cost the others their turn
                self._forget_socket(fd)
        while self._commands:
            self._commands.popleft()()
        if self._inbox:
            self._start_batch()
        now = time.monotonic()
        self._note_timer(now)
        if self._due is not None and self._due <= now:
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._note_timer(now)
        self._gather()
        if now >= self._sweep_due:
            self._sweep(now)
        if self._finished:
            finished, self._finished = self._finished, []
            self._hand_over(finished)

    def _take_event(self, fd: int, flags: int) -> None:
        if fd in self._watched:
            self._multi.socket_action(fd, _CURL_FLAGS[flags & 63])
        elif fd == self._wake_fd:
            os.eventfd_read(fd)
        else:  # a connection resting in libcurl's cache was closed by its peer (or, this very turn, by libcurl)
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def _forget_socket(self, fd: int) -> None:
        """Its transfer ends by its timeout or by the sweep."""
        self.internal_errors += 1
        self._watched.pop(fd, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)

    def _note_timer(self, now: float) -> None:
        if self._timers_ms:
            timeout_ms = self._timers_ms.pop()
            self._due = None if timeout_ms < 0 else now + timeout_ms / 1000.0

    def _sleep_s(self) -> float:
        """How long to sleep at most, in seconds; -1 for until woken."""
        sleep = self._sweep_s() if self._active or self._waitlist else -1.0
        if self._due is None:
            return sleep
        until = max(0.0, self._due - time.monotonic())
        return until if sleep < 0 else min(until, sleep)

    def _start_batch(self) -> None:
        inbox = self._inbox
        now_us, now_s = time.time_ns() // 1000, time.monotonic()
        for _ in range(min(len(inbox), STARTS_PER_TURN_MAX)):
            request = inbox.popleft()
            try:
                if self._warm.get(request.url, 0.0) > now_s:
                    self._launch(request, now_us)
                else:
                    self._look_up(request, now_us, now_s)
            except Exception as error:  # noqa: BLE001 - one odd request must not cost the others theirs
                self._refuse_odd(request, error)

    def _look_up(self, request: HttpRequest, now_us: int, now_s: float) -> None:
        if problem := self._policy.scheme_problem(request.url):
            self._refuse(request, SendError.BLOCKED_SCHEME, problem)
            return
        parts = urlsplit(request.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        # Among what is refused here is `*`, which libcurl's list of addresses would take for every host.
        if ":" not in host and not HOST_NAME.fullmatch(host):
            raise ValueError("its URL has no host name or address")
        waiting = Waiting(request, port, now_s, now_s + request.timeout_s, now_us)
        known = self._resolver.known(host, now_s)
        if known is not None:
            self._connect(waiting, known)
            return
        if host not in self._waitlist:
            self._resolver.look_up(host)
        self._waitlist.add(host, waiting)

    def _launch(self, request: HttpRequest, now_us: int, way: Way | None = None) -> None:
        transfer = self._idle.pop() if self._idle and request.tls is None else self._new_transfer(request)
        try:
            transfer.prepare(request, now_us, way)
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
            answer = transfer.answer(code, message)
            self._multi.remove_handle(curl)
            transfer.rest()
        except Exception as error:  # noqa: BLE001 - the request gets its answer all the same
            transfer.close()
            self._refuse_unforeseen(request, error)
            return
        self._finished.append((request, answer))
        if transfer.pooled and len(self._idle) < self._idle_max:
            self._idle.append(transfer)
        else:
            transfer.close()

    def _refuse_odd(self, request: HttpRequest, error: Exception) -> None:
        if isinstance(error, ValueError | TypeError | pycurl.error):
            self._refuse(request, SendError.BAD_REQUEST, f"the request cannot be sent as it is: {error}")
        else:
            self._refuse_unforeseen(request, error)

    def _refuse_unforeseen(self, request: HttpRequest, error: Exception) -> None:
        self.internal_errors += 1
        self._refuse(request, SendError.INTERNAL, f"something unforeseen happened ({type(error).__name__})")

    def _refuse(self, request: HttpRequest, error: SendError, detail: str, waiting: Waiting | None = None) -> None:
        started_us, waited_ms = time.time_ns() // 1000, 0.0
        if waiting is not None:
            started_us, waited_ms = waiting.started_at_us, (time.monotonic() - waiting.since_s) * 1000
        self._finished.append((request, HttpAnswer(None, b"", b"", False, error, detail, started_us, waited_ms)))

    # What libcurl tells us, from inside `socket_action`.

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """A socket to wait for, or no longer.

        A socket no longer waited for stays in epoll (it is about to be used again); one that closes leaves epoll by
        itself, and its number, used again, is found missing by `modify`.
        """
        if what not in _EPOLL_FLAGS:
            self._watched.pop(fd, None)
            return
        flags = self._watched[fd] = _EPOLL_FLAGS[what]
        try:
            self._epoll.modify(fd, flags)
        except FileNotFoundError:
            self._epoll.register(fd, flags)

    # Where to: every host is looked up before its transfer starts (see `resolver` for why).

    def _on_found(self, lookup: Lookup) -> None:
        """On a resolver's thread."""
        self._commands.append(lambda: self._connect_waiting(lookup))
        self._wake()

    def _connect_waiting(self, lookup: Lookup) -> None:
        for waiting in self._waitlist.answered(lookup.host):
            try:
                self._connect(waiting, lookup)
            except Exception as error:  # noqa: BLE001 - each waiting request gets its own answer
                self._refuse_odd(waiting.request, error)

    def _connect(self, waiting: Waiting, lookup: Lookup) -> None:
        request, waited_s = waiting.request, time.monotonic() - waiting.since_s
        if lookup.error:
            self._refuse(request, SendError.DNS_FAILED, lookup.error, waiting)
        elif self._policy.proxy_url is None:
            if len(self._warm) >= WARM_URLS_MAX:
                self._warm.clear()
            self._warm[request.url] = lookup.until_s
            self._launch(request, waiting.started_at_us, Way(lookup, waiting.port, waited_s))
        else:
            refusals = {address: self._policy.check(address) for address in lookup.addresses}
            allowed = next((address for address, refusal in refusals.items() if refusal is None), None)
            if allowed is None:
                self._refuse(request, SendError.BLOCKED_ADDRESS, next(iter(refusals.values())) or "", waiting)
            else:
                self._launch(request, waiting.started_at_us, Way(lookup, waiting.port, waited_s, via=allowed))

    # Deadlines of our own, giving up, and the end.

    def _sweep(self, now: float) -> None:
        """End what libcurl should have ended: nothing may stay in flight beyond its time, whatever went wrong."""
        self._sweep_due = now + self._sweep_s()
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        for waiting in self._waitlist.take(lambda waiting: waiting.until_s <= now):
            self._refuse(waiting.request, SendError.TIMEOUT, "the host name was not resolved in time", waiting)
        for curl, transfer in list(self._active.items()):
            if now - transfer.started_s > transfer.request.timeout_s + OVERDUE_S:
                transfer.pooled = False
                self._conclude(curl, _TIMED_OUT, "")

    def _sweep_s(self) -> float:
        return LOOKUP_SWEEP_S if self._waitlist else SWEEP_S

    def _abort_where(self, chosen: Callable[[HttpRequest], bool]) -> None:
        given_up = [request for request in self._inbox if chosen(request)]
        for request in given_up:
            self._inbox.remove(request)
        given_up += [waiting.request for waiting in self._waitlist.take(lambda waiting: chosen(waiting.request))]
        for curl, transfer in list(self._active.items()):
            if chosen(transfer.request):
                del self._active[curl]
                given_up.append(transfer.request)
                self._multi.remove_handle(curl)
                transfer.close()
        for request in given_up:
            self._refuse(request, SendError.ABORTED, _ABORT_DETAIL)

    def _end(self) -> None:
        self._abort_where(lambda _request: True)
        self._ending = True

    def _close(self) -> None:
        for transfer in self._idle:
            transfer.close()
        self._resolver.stop()
        self._multi.close()
        self._epoll.close()
        with self._wake_lock:
            self._closed = True
            os.close(self._wake_fd)
