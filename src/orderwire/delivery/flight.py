"""One request on its way, from `Sender.submit` to its answer, and the exception that ends one early.

The sender makes a `Flight`, the connector notes how far it came, a connection carries it out.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.route import Route

if TYPE_CHECKING:
    from orderwire.delivery.connection import Connection

TIMEOUT_S_MAX = 86_400.0


class Stage(StrEnum):
    """How far a request came; the value is what to say when its time is up there."""

    RESOLVING = "the host name was not resolved in time"
    CONNECTING = "no connection was made in time"
    TUNNELLING = "the egress proxy did not make the connection in time"
    HANDSHAKE = "the TLS handshake was not finished in time"
    ANSWER = "the whole answer did not arrive in time"


class SendFailure(Exception):
    """A request ends without an answer: what kind of failure, and a sentence for people."""

    def __init__(self, error: SendError, detail: str) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail


class Flight:
    """A request, where it goes, the bytes to send, and what carries it at present.

    `deadline_s` is monotonic. `connection` is there while one carries it, `connecting` while one is being made.
    """

    __slots__ = (
        "connecting",
        "connection",
        "deadline_s",
        "request",
        "retried",
        "route",
        "stage",
        "started_at_us",
        "started_s",
        "wire",
    )

    def __init__(self, request: HttpRequest, route: Route, wire: bytes, started_s: float, started_at_us: int) -> None:
        """Raises ValueError for a timeout that is none, TypeError for one that is no number."""
        timeout_s = request.timeout_s
        if not 0 < timeout_s <= TIMEOUT_S_MAX:
            raise ValueError(f"its timeout_s is not between 0 and {TIMEOUT_S_MAX:.0f}")
        self.request = request
        self.route = route
        self.wire = wire
        self.started_s = started_s
        self.started_at_us = started_at_us
        self.deadline_s = started_s + timeout_s
        self.retried = False
        self.stage = Stage.ANSWER
        self.connection: Connection | None = None
        self.connecting: asyncio.Task[None] | None = None

    def unanswered(self, error: SendError, detail: str, now_s: float) -> HttpAnswer:
        """How it ends when nothing of an answer came."""
        return unanswered(error, detail, self.started_at_us, (now_s - self.started_s) * 1000)


def unanswered(error: SendError, detail: str, started_at_us: int, duration_ms: float = 0.0) -> HttpAnswer:
    """The answer to a request that got none."""
    return HttpAnswer(None, b"", b"", False, error, detail, started_at_us, duration_ms)
