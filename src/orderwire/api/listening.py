"""One connection to the node: uvicorn's HTTP, with bounds on what a stranger may make us hold, and for how long.

uvicorn bounds neither the bytes of a request's head nor the time it takes to come, and nobody need have a key to send
one. Here a head has at most HEAD_BYTES_MAX, a request comes at a least pace, an answer is read within WRITE_S_MAX.
`sweep` looks at all connections now and then: one clock for all of them costs a request next to nothing.
"""

import time
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024  # and as much again as comes in one piece
FRAMING_FACTOR_MAX = 8  # bytes of framing for one of body: chunks of one byte cost six
HEAD_S_MAX = 15.0  # from the first byte, or from connecting
BODY_BYTES_PER_S_MIN = 8 * 1024  # on top of that time
WRITE_S_MAX = 60.0
SWEEP_S = 5.0
CONNECTIONS_MAX = 10_000

_TOO_LARGE_BODY = (
    b'{"type":"urn:orderwire:problem:too-large","title":"Too large","status":431,"detail":"the head is too large"}'
)
# Called for each request, and a little quicker than `super()`.
_data_received, _on_body = HttpToolsProtocol.data_received, HttpToolsProtocol.on_body
_on_message_begin, _on_message_complete = HttpToolsProtocol.on_message_begin, HttpToolsProtocol.on_message_complete

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_TOO_LARGE_BODY), _TOO_LARGE_BODY)
)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends when it takes too much."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._received = 0  # of this request, without the piece it began in
        self._body_received = 0
        self._begun_s: float | None = time.monotonic()  # since when a request is awaited or comes in
        self._unread_s: float | None = None  # since when the client does not read

    def overdue(self, now_s: float) -> bool:
        """Whether it has had all the time it gets."""
        if self.transport.is_closing() and self._unread_s is None:
            self._unread_s = now_s
        if self._unread_s is not None and now_s - self._unread_s > WRITE_S_MAX:
            return True
        return (
            self._begun_s is not None
            and now_s - self._begun_s > HEAD_S_MAX + self._body_received / BODY_BYTES_PER_S_MIN
        )

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Take it, or not where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        self._received += len(data)
        _data_received(self, data)
        if self._begun_s is None and self._is_idle():
            self._begun_s = time.monotonic()  # a line break, or the rest of a body that was refused
        if self._received > HEAD_BYTES_MAX + FRAMING_FACTOR_MAX * self._body_received:
            self._refuse()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._unread_s = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._unread_s = None
        super().resume_writing()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._received = self._body_received = 0
        self._begun_s = time.monotonic()
        _on_message_begin(self)

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._body_received += len(body)
        _on_body(self, body)

    def on_message_complete(self) -> None:
        """It is all there."""
        self._received = 0
        self._begun_s = None
        _on_message_complete(self)

    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            if self._is_idle():
                self.transport.write(_TOO_LARGE)
            self.transport.close()


def sweep(connections: Iterable[Any]) -> None:
    """End those of uvicorn's connections that are overdue."""
    now_s = time.monotonic()
    for connection in [one for one in connections if isinstance(one, BoundedProtocol) and one.overdue(now_s)]:
        connection.transport.abort()
