"""The only door out: sends HTTP requests for everything tenants configure, and for vendors' APIs.

`Sender` belongs to one asyncio loop and owns one thread (`engine`). Requests go in by `submit`, every one of them comes
back once through `on_answers` on the loop; `send` is the same for one request with an await. Never follows redirects,
never reaches a refused address (`egress`), verifies TLS always.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from orderwire.delivery.egress import EgressPolicy, url_problem
from orderwire.delivery.engine import Engine
from orderwire.delivery.exchange import (
    BODY_KEPT_BYTES_MAX,
    BODY_READ_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpAnswer,
    HttpRequest,
    SendError,
    TlsOptions,
)

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
ABORT_GRACE_S = 2.0

Answers = list[tuple[HttpRequest, HttpAnswer]]


class Sender:
    """Sends requests on a thread of its own and brings every answer back to `loop` in batches.

    `on_answers` is called on the loop; if it raises, the loop's exception handler hears of it and sending goes on.
    `connections_max` bounds the idle connections kept, not the requests in flight: that bound is the caller's.
    `ca_file` names the public authorities to trust. `http2` is off because HTTP/1.1 measured cheaper (35 against 40 us
    of CPU a request over TLS) and keeps one request's stall from another's.
    """

    def __init__(
        self,
        egress: EgressPolicy,
        *,
        on_answers: Callable[[Answers], None],
        loop: asyncio.AbstractEventLoop,
        connections_max: int = CONNECTIONS_MAX_DEFAULT,
        ca_file: str | None = None,
        http2: bool = False,
    ) -> None:
        self.in_flight = 0
        self.callback_errors = 0
        self._loop = loop
        self._on_answers = on_answers
        self._answers: deque[Answers] = deque()
        self._announced = False
        self._stopping = False
        self._waiters: dict[HttpRequest, asyncio.Future[HttpAnswer]] = {}
        self._empty = asyncio.Event()
        self._engine = Engine(
            egress,
            connections_max=connections_max,
            ca_file=ca_file or public_authorities_file(),
            http2=http2,
            hand_over=self._hand_over,
        )
        self._thread = threading.Thread(target=self._engine.run, name="orderwire-http", daemon=True)

    @property
    def internal_errors(self) -> int:
        """How often something unforeseen happened on the sending thread (such requests were answered all the same)."""
        return self._engine.internal_errors

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, requests: Sequence[HttpRequest]) -> None:
        """Send these; call on the loop. Each comes back once through `on_answers`. RuntimeError after `stop`."""
        if self._stopping:
            raise RuntimeError("the sender is stopping")
        self.in_flight += len(requests)
        self._engine.submit(requests)

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Send one and wait for its answer, which does not go through `on_answers`. RuntimeError after `stop`."""
        waiter: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._waiters[request] = waiter
        self.submit((request,))
        return await waiter

    def abort(self, tags: Collection[object]) -> None:
        """Give up every unfinished request whose `tag` is in `tags`; each comes back ABORTED."""
        self._engine.abort(frozenset(tags))

    async def stop(self, grace_s: float) -> None:
        """Take no more, wait up to `grace_s` for what is in flight, abort the rest, end the thread.

        When it returns, every request has come back.
        """
        self._stopping = True
        if not self._thread.is_alive():
            return
        if self.in_flight:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_s)
        self._engine.finish()
        await asyncio.to_thread(self._thread.join, ABORT_GRACE_S)
        self._take_answers()

    def _hand_over(self, finished: Answers) -> None:
        """On the sending thread: one call to the loop, unless one is on its way already."""
        self._answers.append(finished)
        if not self._announced:
            self._announced = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._take_answers)

    def _take_answers(self) -> None:
        self._announced = False
        answers: Answers = []
        while self._answers:
            answers += self._answers.popleft()
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


def public_authorities_file() -> str | None:
    """The file of certificate authorities to trust: SSL_CERT_FILE, the system's, or the package certifi's."""
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if named and Path(named).exists():
        return named
    with contextlib.suppress(ImportError):
        where: Callable[[], str] = importlib.import_module("certifi").where
        return where()
    return None
