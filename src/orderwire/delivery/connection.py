"""One HTTP/1.1 connection: writes a request in one piece, reads its answer, and says how it ended.

An `asyncio.Protocol` with llhttp (httptools) for the framing. Carries one `Flight` at a time; between two it rests in
the `Pool`. Bytes nobody asked for, an answer cut short or one too long close it. Nothing is raised into the transport.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from orderwire.delivery.answer import NOT_HTTP, ends_with_connection, final_head, loss, status_of
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

ANSWER_BYTES_MAX = 8 * BODY_READ_BYTES_MAX  # on the wire: chunks of one byte cost six each
AGE_S_MAX = 300.0  # then a new one is made, to the address the name has by then

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

    transport: asyncio.Transport
    _parser: HttpResponseParser
    _feed: Callable[[bytes], None]
    _head: bytes | bytearray
    _body: bytes | bytearray
    _body_bytes: int
    _received: int
    _interims: int
    _status: int | None
    _complete: bool
    _keep: bool

    def __init__(self, origin: Origin, pool: Pool, address: str) -> None:
        self.origin = origin
        self.address = address
        self.flight: Flight | None = None
        self.idle_since_s = 0.0
        self._pool = pool
        self._used = False
        self._unsent = False
        self._born_s = time.monotonic()
        self._expect_answer()

    def carry(self, flight: Flight) -> None:
        """Send this request; its end comes by `Pool.finish` or, where it may be sent again, by `Pool.again`."""
        self.flight = flight
        flight.connection = self
        flight.stage = Stage.ANSWER
        if self.transport.is_closing():
            self._ended(None)
            return
        try:
            self.transport.write(flight.wire)
        except Exception as error:  # noqa: BLE001 - as in `data_received`
            self._unforeseen(flight, error)

    def give_up(self, flight: Flight, error: SendError, detail: str) -> HttpAnswer:
        """The answer as far as it came; the connection is closed."""
        answer = self._answer(flight, error, detail, time.monotonic())
        self.flight = None
        self.close()
        return answer

    def close(self) -> None:
        """Close at once, without a farewell that the receiver could draw out."""
        self._pool.forget(self)
        self.transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._new_parser()
        self._pool.opened.add(self)

    def pause_writing(self) -> None:
        """The receiver does not read."""
        self._unsent = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._unsent = False

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer."""
        flight = self.flight
        if flight is None:  # nobody asked
            self.close()
            return
        try:
            self._received += len(data)
            if self._status is None:
                self._keep_head(data)
            try:
                self._feed(data)
            except (HttpParserError, HttpParserUpgrade) as error:
                if not self._complete:
                    self._break(flight, error)
                    return
                self._keep = False  # what came behind the answer is not HTTP
            if self._complete:
                self._conclude(flight)
            elif self._status is None:
                if len(self._head) > HEADER_BYTES_MAX:
                    self._fail(flight, SendError.BAD_ANSWER, _TOO_LARGE)
            elif self._body_bytes > BODY_READ_BYTES_MAX or self._received > ANSWER_BYTES_MAX:
                self._conclude(flight)
        except Exception as error:  # noqa: BLE001 - the request is answered, the others live on
            self._unforeseen(flight, error)

    def eof_received(self) -> None:
        """The receiver sends no more."""
        self._ended(None)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        self._pool.lose(self)
        self._ended(exc)
        del self._parser, self._feed  # they hold this object

    # What the parser calls, from inside `data_received`.

    def on_headers_complete(self) -> None:
        """The end of a head: an interim one (1xx), or the one that counts."""
        status = self._parser.get_status_code()
        if not 100 <= status < 200:
            self._status = status
            if self.flight is not None and self.flight.route.is_head:  # llhttp would wait for the body
                self.on_message_complete()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, without its framing."""
        if self._complete:  # a body behind a HEAD's answer
            self._keep = False
            return
        if not self._body_bytes:
            self._body = piece
        elif self._body_bytes < BODY_KEPT_BYTES_MAX:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        self._body_bytes += len(piece)

    def on_message_begin(self) -> None:
        """An answer begins: a second one was not asked for."""
        if self._complete:
            self._keep = False

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        if self._status is None:
            self._interims += self._parser.get_status_code() != 101  # after which llhttp stops
        elif not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # Inside.

    def _new_parser(self) -> None:
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def _expect_answer(self) -> None:
        self._head = self._body = b""
        self._body_bytes = self._received = self._interims = 0
        self._status = None
        self._complete = False
        self._keep = False

    def _keep_head(self, data: bytes) -> None:
        if not self._head:
            self._head = data
            return
        if isinstance(self._head, bytes):
            self._head = bytearray(self._head)
        self._head += data

    def _conclude(self, flight: Flight) -> None:
        """The answer is whole, or more of it than anyone wants is there."""
        now_s = time.monotonic()
        answer = self._answer(flight, None, "", now_s)
        self.flight = None
        self._pool.finish(flight, answer)
        if not self._keep or self._unsent or now_s - self._born_s > AGE_S_MAX:
            self.close()
            return
        if flight.route.is_head:
            self._new_parser()
        self._used = True
        self._expect_answer()
        self._pool.keep(self, now_s)

    def _fail(self, flight: Flight, error: SendError, detail: str) -> None:
        self._pool.finish(flight, self.give_up(flight, error, detail))

    def _unforeseen(self, flight: Flight, error: Exception) -> None:
        self.flight = None
        self._pool.unforeseen(flight, error)
        self.close()

    def _break(self, flight: Flight, error: HttpParserError | HttpParserUpgrade) -> None:
        if isinstance(error, HttpParserCallbackError):
            self._unforeseen(flight, error)
        elif isinstance(error, HttpParserUpgrade):
            self._fail(flight, SendError.BAD_ANSWER, "the receiver switched protocols, which it was not asked to")
        else:
            self._fail(flight, SendError.BAD_ANSWER, f"{NOT_HTTP}: {error}")

    def _ended(self, exc: Exception | None) -> None:
        """The receiver closed, in the middle of what `flight` names."""
        flight = self.flight
        if flight is None:
            return
        try:
            if self._status is not None and exc is None and ends_with_connection(self._raw_headers()):
                self._conclude(flight)  # its body ends where the connection does (RFC 9112 6.3, 8)
            elif self._used and not self._received and not flight.retried:  # it closed before it read the request
                self.flight = None
                self._pool.again(flight)
            else:
                self._fail(flight, *loss(exc, begun=self._received > 0, headed=self._status is not None))
        except Exception as error:  # noqa: BLE001 - as in `data_received`
            self._unforeseen(flight, error)

    def _answer(self, flight: Flight, error: SendError | None, detail: str, now_s: float) -> HttpAnswer:
        raw, status, body = self._raw_headers(), self._status, self._body
        if status is None:
            status = status_of(raw)
            raw = b"" if status is None else raw
        elif status < 100 and error is None:
            error, detail = SendError.BAD_ANSWER, f"{NOT_HTTP}: there is no status {status}"
        if len(raw) > HEADER_BYTES_MAX:
            raw, error, detail = raw[:HEADER_BYTES_MAX], SendError.BAD_ANSWER, _TOO_LARGE
        return HttpAnswer(
            status,
            raw,
            bytes(body) if len(body) <= BODY_KEPT_BYTES_MAX else bytes(body[:BODY_KEPT_BYTES_MAX]),
            self._body_bytes > BODY_KEPT_BYTES_MAX,
            error,
            detail,
            flight.started_at_us,
            (now_s - flight.started_s) * 1000.0,
            self.address,
        )

    def _raw_headers(self) -> bytes:
        """The status line and header lines of the answer that counts, as far as they came."""
        return final_head(self._head, self._interims, complete=self._status is not None)
