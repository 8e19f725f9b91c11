"""One HTTP/1.1 connection: writes a request in one piece, reads its answer, and says how it ended.

An `asyncio.Protocol` with llhttp (httptools) for the framing. Carries one `Flight` at a time; between two it rests in
the `Pool`. Bytes nobody asked for, an answer cut short or one too long close it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from orderwire.delivery.exchange import (
    BODY_KEPT_BYTES_MAX,
    BODY_READ_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpAnswer,
    SendError,
)
from orderwire.delivery.flight import Flight, Stage
from orderwire.delivery.route import Origin

if TYPE_CHECKING:
    from orderwire.delivery.pool import Pool

ANSWER_BYTES_MAX = 8 * BODY_READ_BYTES_MAX  # on the wire: one-byte chunks cost six bytes each
AGE_S_MAX = 300.0  # then a new one, to the address the name has by then

_BLANK = b"\r\n\r\n"
_H = ord("H")
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d ([2-9]\d\d)[^\r\n]*\r?\n")
_HAS_LENGTH = re.compile(rb"\r\n(?:content-length:|transfer-encoding:[^\r\n]*chunked[ \t]*\r\n)", re.IGNORECASE)
_TOO_LARGE = f"the receiver's headers are too large (more than {HEADER_BYTES_MAX} bytes)"


class Connection(asyncio.Protocol):
    """A connection to `origin`. `address` is the numeric address it goes to, or that the proxy was asked for."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_born_s",
        "_complete",
        "_feed",
        "_head",
        "_interims",
        "_keep",
        "_parser",
        "_pool",
        "_received",
        "_status",
        "_unsent",
        "_used",
        "address",
        "flight",
        "idle_since_s",
        "origin",
        "transport",
    )

    def __init__(self, origin: Origin, pool: Pool, address: str) -> None:
        self.origin = origin
        self.address = address
        self.flight: Flight | None = None
        self.transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0
        self._pool = pool
        self._used = False
        self._unsent = False
        self._born_s = time.monotonic()
        self._parser = HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._expect_answer()

    def carry(self, flight: Flight) -> None:
        """Send this request; its end comes by `Pool.finish` or, where it may be sent again, `Pool.again`."""
        assert self.transport is not None  # noqa: S101 - connections are handed out connected
        self.flight = flight
        flight.connection = self
        flight.stage = Stage.ANSWER
        self._expect_answer()
        self.transport.write(flight.wire)

    def give_up(self, error: SendError, detail: str) -> HttpAnswer:
        """The answer as far as it came; the connection is closed."""
        assert self.flight is not None  # noqa: S101 - asked of what is carried
        answer = self._answer(self.flight, error, detail, time.monotonic())
        self.flight = None
        self.close()
        return answer

    def close(self) -> None:
        """Close at once, without a farewell that the receiver could draw out."""
        self._pool.forget(self)
        if self.transport is not None:
            self.transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._pool.open.add(self)

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False

    def data_received(self, data: bytes) -> None:
        flight = self.flight
        if flight is None:  # nobody asked
            self.close()
            return
        self._received += len(data)
        if self._status is None:
            self._keep_head(data)
        try:
            self._feed(data)
        except HttpParserError as error:
            if not self._complete:
                self._break(flight, error)
                return
            self._keep = False  # what came behind the answer is not HTTP
        except Exception as error:  # noqa: BLE001 - nothing may be raised into the transport
            self._fail_unforeseen(error)
            return
        if self._complete or self._body_bytes > BODY_READ_BYTES_MAX or self._received > ANSWER_BYTES_MAX:
            self._conclude(flight)
        elif self._status is None and len(self._head) > HEADER_BYTES_MAX:
            self._finish(flight, SendError.BAD_ANSWER, _TOO_LARGE)

    def eof_received(self) -> None:
        self._ended(None)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.open.discard(self)
        self._pool.forget(self)
        self._ended(exc)
        del self._parser, self._feed  # they hold this object

    # What the parser calls, from inside `data_received`.

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not 100 <= status < 200:
            self._status = status
            if self.flight is not None and self.flight.route.is_head:  # llhttp would wait for the body
                self.on_message_complete()

    def on_body(self, piece: bytes) -> None:
        if not self._body_bytes:
            self._body = piece
        elif self._body_bytes < BODY_KEPT_BYTES_MAX:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        self._body_bytes += len(piece)

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False

    def on_message_complete(self) -> None:
        if self._status is None:
            self._interims += 1
        elif not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # Inside.

    def _expect_answer(self) -> None:
        self._head: bytes | bytearray = b""
        self._body: bytes | bytearray = b""
        self._body_bytes = 0
        self._received = 0
        self._interims = 0
        self._status: int | None = None
        self._complete = False
        self._keep = False

    def _keep_head(self, data: bytes) -> None:
        if not self._head:
            self._head = data
            return
        if isinstance(self._head, bytes):
            self._head = bytearray(self._head)
        self._head += data
