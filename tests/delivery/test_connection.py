"""One connection without a network: whatever bytes come, cut however, one request ends once and the same way."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderwire.delivery.connection import Connection
from orderwire.delivery.exchange import (
    BODY_KEPT_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpAnswer,
    HttpRequest,
    SendError,
)
from orderwire.delivery.flight import Flight
from orderwire.delivery.route import Origin, Route

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire:
    """A transport and a pool in one, that write down what is asked of them."""

    def __init__(self, *, method: str = "POST") -> None:
        self.written = b""
        self.closed = False
        self.kept = 0
        self.answers: list[HttpAnswer] = []
        self.again_asked = 0
        self.errors: list[Exception] = []
        self.opened: set[Connection] = set()
        self.route = Route(Origin("shop.example", 80, secure=False, identity=None), b"", method)
        self.connection = Connection(self.route.origin, cast("Any", self), "192.0.2.1")
        self.connection.connection_made(cast("Any", self))

    # The transport.

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    # The pool.

    def finish(self, flight: Flight, answer: HttpAnswer) -> None:
        self.answers.append(answer)

    def again(self, flight: Flight) -> None:
        self.again_asked += 1

    def unforeseen(self, flight: Flight, error: Exception) -> None:
        self.errors.append(error)

    def keep(self, connection: Connection, now_s: float) -> None:
        self.kept += 1

    def forget(self, connection: Connection) -> None:
        pass

    lose = forget

    # The test.

    def request(self) -> None:
        self.connection.carry(Flight(HttpRequest("http://shop.example/", b"", [], 1.0), self.route, b"wire", 0.0, 0))

    def receive(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.closed:
                self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        if not self.closed and error is None:
            self.connection.eof_received()
        self.connection.connection_lost(error)

    def exchange(self, *pieces: bytes) -> HttpAnswer:
        """One request, these bytes, the end of the connection."""
        self.request()
        self.receive(*pieces)
        self.end()
        assert (self.errors, self.again_asked, len(self.answers)) == ([], 0, 1)
        return self.answers[0]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 099 Odd\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/2 200\r\n",
        b"content-length: 5\r\n",
        b"content-length: 0\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"connection: close\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n",
        b"x-odd: caf\xe9\r\n",
        b"x: a\0b\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\ntrailer: a\r\n\r\n",
        b"x" * 5000,
        b"fffffffff\r\n",
    ]
)
ANSWERS = st.lists(PARTS | st.binary(max_size=20), max_size=12).map(b"".join)


@given(ANSWERS, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from(["POST", "HEAD"]))
@example(b"\r\nHTTP/1.1 100 Continue\r\n\r\n\r\n" + OK, [1, 3, 20, 26, 28, 30, 31], "POST")
@example(b"HTTP/1.1 200 OK\r\n\r\nhello\r\n\r\nHTTP/1.1", [3, 18, 19, 21], "POST")
@settings(max_examples=400, deadline=None)
def test_whatever_comes_however_cut_ends_once_and_the_same(data: bytes, places: list[int], method: str) -> None:
    whole, pieces = Wire(method=method), Wire(method=method)
    expected, answer = whole.exchange(*cut(data, [])), pieces.exchange(*cut(data, places))
    assert (answer.status_code, answer.error) == (expected.status_code, expected.error)
    assert (answer.body, answer.body_truncated) == (expected.body, expected.body_truncated)
    assert expected.raw_headers.startswith(answer.raw_headers)  # of a broken head there is as much as had come
    assert answer.raw_headers == expected.raw_headers or answer.error is not None
    assert len(answer.body) <= BODY_KEPT_BYTES_MAX
    assert len(answer.raw_headers) <= HEADER_BYTES_MAX
    assert (answer.error is None) == (answer.error_detail == "")
    assert answer.error is not None or answer.status_code is not None
    assert all(isinstance(value, str) for _, value in answer.headers())
    assert whole.closed
    assert pieces.closed


@given(
    st.sampled_from([200, 201, 302, 410, 500, 599]),
    st.binary(max_size=40_000),
    st.sampled_from(["length", "chunked", "end"]),
    st.integers(0, 3),
    st.lists(st.integers(0, 50_000), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_good_answers_are_read_right(status: int, body: bytes, framing: str, interims: int, places: list[int]) -> None:
    head = b"HTTP/1.1 %d It\r\nx-one: a\r\n" % status
    if framing == "length":
        rest = b"content-length: %d\r\n\r\n%b" % (len(body), body)
    elif framing == "chunked":
        chunks = [chunk for chunk in cut(body, places) if chunk]
        rest = b"transfer-encoding: chunked\r\n\r\n"
        rest += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    else:
        rest = b"\r\n" + body
    wire = Wire()
    answer = wire.exchange(*cut(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * interims + head + rest, places))
    assert (answer.status_code, answer.error) == (status, None), answer.error_detail
    assert answer.body == body[:BODY_KEPT_BYTES_MAX]
    assert answer.body_truncated == (len(body) > BODY_KEPT_BYTES_MAX)
    assert answer.headers()[0] == ("x-one", "a")
    assert answer.raw_headers.startswith(head)
    assert answer.raw_headers.endswith(b"\r\n\r\n")
    assert wire.kept == (framing != "end")


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (OK, True),
        (OK + b"\r\n", True),
        (OK + OK, False),
        (OK + b"H", False),
        (OK + b"garbage", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nupgrade: h2,h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_only_where_the_next_answer_is_sure_to_be_its_own(data: bytes, kept: bool) -> None:
    wire = Wire()
    wire.request()
    wire.receive(data)
    assert [answer.error for answer in wire.answers] == [None]
    assert (wire.kept, wire.closed) == ((1, False) if kept else (0, True))
    if kept:
        wire.request()
        wire.receive(OK)
        assert wire.answers[1].body == b"ok"


def test_a_head_has_no_body_whatever_its_length_says() -> None:
    wire = Wire(method="HEAD")
    for _ in range(2):
        wire.request()
        wire.receive(b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 100\r\n\r\n")
    assert [(answer.status_code, answer.body) for answer in wire.answers] == [(200, b""), (200, b"")]
    assert (wire.kept, wire.closed) == (2, False)
    wire.request()
    wire.receive(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert (wire.answers[2].body, wire.closed) == (b"", True)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc", SendError.BAD_ANSWER),
        (b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n", SendError.BAD_ANSWER),
        (b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n", SendError.BAD_ANSWER),
        (b"just a body, as in HTTP/0.9", SendError.BAD_ANSWER),
    ],
)
def test_what_is_not_http_1_1_is_no_answer(data: bytes, error: SendError) -> None:
    answer = Wire().exchange(data)
    assert answer.error == error
    assert answer.error_detail


def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    wire = Wire()
    wire.receive(OK)
    assert (wire.closed, wire.answers) == (True, [])
    wire.request()  # taken from the pool in that very moment
    assert [answer.error for answer in wire.answers] == [SendError.CONNECTION_LOST]


def test_a_used_connection_that_dies_before_any_byte_is_tried_again() -> None:
    for error in (None, ConnectionResetError(104, "Connection reset by peer")):
        wire = Wire()
        wire.request()
        wire.receive(OK)
        wire.request()
        wire.end(error)
        assert (len(wire.answers), wire.again_asked) == (1, 1)


def test_a_fresh_connection_or_one_that_had_begun_to_answer_is_not_tried_again() -> None:
    fresh = Wire()
    assert fresh.exchange().error == SendError.CONNECTION_LOST
    begun = Wire()
    begun.request()
    begun.receive(OK)
    begun.request()
    begun.receive(b"H")
    begun.end()
    assert ([answer.error for answer in begun.answers], begun.again_asked) == ([None, SendError.CONNECTION_LOST], 0)


def test_a_body_that_ends_with_the_connection_is_not_whole_after_a_reset() -> None:
    wire = Wire()
    wire.request()
    wire.receive(b"HTTP/1.1 200 OK\r\n\r\nhello")
    wire.end(ConnectionResetError(104, "Connection reset by peer"))
    assert (wire.answers[0].status_code, wire.answers[0].error) == (200, SendError.CONNECTION_LOST)


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"1;" + b"e" * 500 + b"\r\nx\r\n"])
def test_a_body_of_tiny_chunks_is_cut_as_well(piece: bytes) -> None:
    wire = Wire()
    wire.request()
    wire.receive(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for sent in range(1_000_000):
        if wire.closed:
            assert sent * len(piece) < 1_000_000
            break
        wire.receive(piece)
    assert (wire.answers[0].status_code, wire.answers[0].error) == (200, None)


def test_an_answer_before_the_request_was_read_is_the_last_of_its_connection() -> None:
    wire = Wire()
    wire.request()
    wire.connection.pause_writing()
    wire.receive(OK)
    assert ([answer.error for answer in wire.answers], wire.kept, wire.closed) == ([None], 0, True)


def test_a_transport_that_raises_ends_the_request() -> None:
    class Broken(Wire):
        def write(self, data: bytes) -> None:
            raise RuntimeError

    wire = Broken()
    wire.request()
    assert (len(wire.errors), wire.closed) == (1, True)


def test_it_is_a_protocol() -> None:
    assert issubclass(Connection, asyncio.Protocol)
