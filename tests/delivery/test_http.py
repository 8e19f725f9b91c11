"""The door out against real sockets: good receivers, bad ones, and addresses that must not be reached."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderwire.delivery.http import (
    BODY_KEPT_BYTES_MAX,
    EgressPolicy,
    HttpAnswer,
    HttpRequest,
    Sender,
    SendError,
)
from tests.delivery.http_servers import (
    LOOPBACK,
    OK,
    OPEN,
    answering,
    never_answering,
    read_request,
    request,
    sending,
    serving,
)

SHORT_S = 0.3
LONG_S = 30.0  # no test waits this long unless something is broken


async def test_a_request_arrives_as_given_and_the_answer_comes_back() -> None:
    answer_bytes = b"HTTP/1.1 202 Accepted\r\nX-One: a\r\nx-two:  b \r\ncontent-length: 5\r\n\r\nhello"
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        answer = await sender.send(request(server.url + "?q=1&r=%20", b'{"n":1}', tag="mine"))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /hook?q=1&r=%20 HTTP/1.1"
    assert body == b'{"n":1}'
    assert b"content-type: application/json" in lines
    assert b"webhook-id: evt_1" in lines
    assert b"Content-Length: 7" in lines
    names = {line.partition(b":")[0].lower() for line in lines[1:]}
    assert names == {b"host", b"accept", b"content-type", b"webhook-id", b"content-length"}
    assert (answer.status_code, answer.body, answer.body_truncated) == (202, b"hello", False)
    assert (answer.error, answer.error_detail) == (None, "")
    assert answer.headers() == [("x-one", "a"), ("x-two", "b"), ("content-length", "5")]
    assert answer.header("X-TWO") == "b"
    assert answer.header("retry-after") is None
    assert answer.connected_address == "127.0.0.1"
    assert abs(answer.started_at_us / 1e6 - time.time()) < LONG_S
    assert 0 < answer.duration_ms < LONG_S * 1000


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_every_method_is_sent_and_the_next_is_not_marked_by_it(method: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    body = b"" if method in ("GET", "HEAD", "DELETE") else b"{}"
    async with serving(answering(answer)) as server, sending() as sender:
        for each, content in ((method, body), ("POST", b"[1]"), (method, body), ("GET", b"")):
            got = await sender.send(request(server.url, content, method=each))
            assert (got.status_code, got.error) == (200, None)
    sent = [(one.split(b" ")[0].decode(), one.partition(b"\r\n\r\n")[2]) for one in server.requests]
    assert sent == [(method, body), ("POST", b"[1]"), (method, body), ("GET", b"")]
    assert server.connections == 1


async def test_connections_are_kept_and_reused() -> None:
    async with serving(answering(OK)) as server, sending() as sender:
        for _ in range(20):
            assert (await sender.send(request(server.url))).status_code == 200
    assert server.connections == 1


async def test_a_kept_connection_that_the_receiver_closed_is_replaced() -> None:
    async with serving(answering(OK, then_close=True)) as server, sending() as sender:
        for _ in range(5):
            answer = await sender.send(request(server.url))
            assert (answer.status_code, answer.error) == (200, None)
            await asyncio.sleep(0.02)
    assert server.connections == 5


async def test_500_at_once_each_get_their_own_answer() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = (await read_request(reader)).partition(b"\r\n\r\n")[2]
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with serving(echo) as server, sending() as sender:
        bodies = [b"body %d" % number for number in range(500)]
        answers = await asyncio.gather(*(sender.send(request(server.url, body, timeout_s=LONG_S)) for body in bodies))
    assert [answer.body for answer in answers] == bodies


async def test_processes_started_meanwhile_do_not_inherit_connections() -> None:
    def inheritable() -> list[int]:
        links = ((int(path.name), path) for path in Path("/proc/self/fd").iterdir())
        return [fd for fd, path in links if path.is_socket() and os.get_inheritable(fd)]

    async with serving(never_answering) as server, sending() as sender:
        task = asyncio.create_task(sender.send(request(server.url, timeout_s=LONG_S)))
        await asyncio.sleep(0.1)
        assert server.connections == 1
        assert inheritable() == []
        task.cancel()


async def test_a_big_body_is_sent_whole_and_without_expect() -> None:
    body = bytes(range(256)) * 8192
    async with serving(answering(OK)) as server, sending() as sender:
        answer = await sender.send(request(server.url, body))
    assert answer.status_code == 200
    assert server.requests[0].partition(b"\r\n\r\n")[2] == body
    assert b"expect" not in server.requests[0].partition(b"\r\n\r\n")[0].lower()


# Receivers that behave badly.


async def test_a_receiver_that_never_answers_times_out() -> None:
    async with serving(never_answering) as server, sending() as sender:
        answer = await sender.send(request(server.url, timeout_s=SHORT_S))
    assert (answer.status_code, answer.error) == (None, SendError.TIMEOUT)
    assert answer.duration_ms >= SHORT_S * 900
    assert "in time" in answer.error_detail


@pytest.mark.parametrize("chunk", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"])
async def test_the_timeout_covers_the_whole_answer(chunk: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" if chunk == b"x" else chunk)
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with serving(drip) as server, sending() as sender:
        answer = await sender.send(request(server.url, timeout_s=SHORT_S))
    assert (answer.status_code, answer.error) == (200, SendError.TIMEOUT)
    assert answer.body.startswith(b"x")


@pytest.mark.parametrize("framing", [b"content-length: 10000000\r\n", b"", b"transfer-encoding: chunked\r\n"])
async def test_an_endless_answer_is_cut_and_still_counts(framing: bytes) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
        piece = b"y" * 65536
        for _ in range(10_000_000 // len(piece)):
            writer.write(b"10000\r\n" + piece + b"\r\n" if b"chunked" in framing else piece)
            await writer.drain()

    async with serving(flood) as server, sending() as sender:
        answer = await sender.send(request(server.url))
        assert (await sender.send(request(server.url))).status_code == 200
    assert (answer.status_code, answer.error) == (200, None)
    assert answer.body == b"y" * BODY_KEPT_BYTES_MAX
    assert answer.body_truncated


@pytest.mark.parametrize(
    ("size", "kept", "truncated"), [(16384, 16384, False), (16385, 16384, True), (65536, 16384, True)]
)
async def test_what_is_kept_of_the_answer(size: int, kept: int, truncated: bool) -> None:
    answer_bytes = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"z" * size
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        for _ in range(2):
            answer = await sender.send(request(server.url))
            assert (answer.status_code, answer.error, len(answer.body)) == (200, None, kept)
            assert answer.body_truncated is truncated
    assert server.connections == 1


async def test_bytes_that_are_no_text_are_kept_as_they_are() -> None:
    body = b"\x00\xff\xfe\x80 caf\xe9 \xed\xa0\x80"
    answer_bytes = b"HTTP/1.1 500 Oh \xff\r\nx-odd: caf\xe9\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        answer = await sender.send(request(server.url))
    assert (answer.status_code, answer.body, answer.error) == (500, body, None)
    assert answer.header("x-odd") == "café"


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        (b"", None, SendError.CONNECTION_LOST),
        (b"HTTP/1.1 200 O", None, SendError.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\ncontent-le", 200, SendError.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 200, SendError.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", 200, SendError.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc", 200, SendError.BAD_ANSWER),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None, SendError.CONNECTION_LOST),
        (b"hello, this is not HTTP\r\n\r\n", None, SendError.BAD_ANSWER),
        (b"\x15\x03\x01\x00\x02\x02\x46", None, SendError.BAD_ANSWER),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", 200, SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\n" + b"x-many: 0123456789\r\n" * 5000 + b"\r\n", 200, SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\n" + b"x-many: 0123456789\r\n" * 50000 + b"\r\n", 200, SendError.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nx-long: " + b"0" * 200_000 + b"\r\n\r\n", 200, SendError.BAD_ANSWER),
        (b"HTTP/1.1 103 Early\r\nx-many: 0123456789\r\n\r\n" * 100_000, None, SendError.BAD_ANSWER),
    ],
)
async def test_broken_answers(sent: bytes, status: int | None, error: SendError) -> None:
    async with serving(answering(sent, then_close=True)) as server, sending() as sender:
        answer = await sender.send(request(server.url))
    assert (answer.status_code, answer.error) == (status, error), answer.error_detail
    assert answer.error_detail
    assert len(answer.raw_headers) <= 64 * 1024


async def test_interim_answers_are_passed_over() -> None:
    answer_bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        answer = await sender.send(request(server.url))
    assert (answer.status_code, answer.body, answer.headers()) == (200, b"ok", [("content-length", "2")])


async def test_an_early_answer_to_a_big_body_is_heard() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.reader.readuntil(b"\r\n\r\n")  # type: ignore[attr-defined]
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)

    async with serving(refuse) as server, sending() as sender:
        answer = await sender.send(request(server.url, b"x" * 4_000_000))
    assert answer.status_code == 413


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers_and_never_followed(status: int) -> None:
    async with serving(answering(OK)) as other, sending() as sender:
        for target in ("http://169.254.169.254/latest/meta-data", other.url, "file:///etc/passwd"):
            answer_bytes = b"HTTP/1.1 %d Go\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, target.encode())
            async with serving(answering(answer_bytes)) as server:
                answer = await sender.send(request(server.url))
            assert (answer.status_code, answer.error) == (status, None)
            assert answer.header("location") == target
        assert other.connections == 0


async def test_cookies_are_not_kept() -> None:
    answer_bytes = b"HTTP/1.1 200 OK\r\nset-cookie: a=b; path=/\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        for _ in range(2):
            await sender.send(request(server.url))
    assert b"cookie" not in server.requests[1].lower()


async def test_a_compressed_answer_is_left_compressed() -> None:
    answer_bytes = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"
    async with serving(answering(answer_bytes)) as server, sending() as sender:
        answer = await sender.send(request(server.url))
    assert (answer.body, answer.error) == (b"\x1f\x8b\x08\x00", None)


async def test_nobody_listening() -> None:
    async with serving(answering(OK)) as server:
        pass
    async with sending() as sender:
        answer = await sender.send(request(server.url))
    assert (answer.status_code, answer.error) == (None, SendError.CONNECT_FAILED)
    assert str(server.port) in answer.error_detail


async def test_a_name_that_does_not_exist() -> None:
    async with sending() as sender:
        answer = await sender.send(request("http://no-such-host.invalid/", timeout_s=LONG_S))
    assert (answer.status_code, answer.error) == (None, SendError.DNS_FAILED)
    assert "no-such-host.invalid" in answer.error_detail


async def test_a_slow_receiver_does_not_hold_up_others() -> None:
    async with serving(never_answering) as slow, serving(answering(OK)) as quick, sending() as sender:
        stuck = [asyncio.create_task(sender.send(request(slow.url, timeout_s=LONG_S))) for _ in range(200)]
        await asyncio.sleep(0.1)
        for _ in range(20):
            assert (await sender.send(request(quick.url))).status_code == 200
        assert not any(task.done() for task in stuck)
        await sender.stop(0.0)
        assert {(await task).error for task in stuck} == {SendError.ABORTED}


# Requests that cannot be sent.


@pytest.mark.parametrize(
    "bad",
    [
        HttpRequest("http://127.0.0.1:1/", b"", ["x: a\r\ny: b"], 1.0),
        HttpRequest("http://127.0.0.1:1/", b"", ["x: a\nhost: b"], 1.0),
        HttpRequest("http://127.0.0.1:1/", b"", ["x: é"], 1.0),
        HttpRequest("http://127.0.0.1:1/\r\nx: y", b"", [], 1.0),
        HttpRequest("http://127.0.0.1:99999/", b"", [], 1.0),
        HttpRequest("http://", b"", [], 1.0),
        HttpRequest("http://exämple/", b"", [], 1.0),
        HttpRequest("http://%31%32%37.0.0.1/", b"", [], 1.0),
        HttpRequest("http://*:1/", b"", [], 1.0),
        HttpRequest("http://a,b:1/", b"", [], 1.0),
        HttpRequest("http://[::1:1/", b"", [], 1.0),
        HttpRequest("http://127.0.0.1:1/", b"", [], 1.0, method="CONNECT"),
        HttpRequest("http://127.0.0.1:1/", "text", [], "soon"),  # type: ignore[arg-type]
    ],
)
async def test_requests_that_cannot_be_sent_are_answered(bad: HttpRequest) -> None:
    async with serving(answering(OK)) as server, sending() as sender:
        answer = await sender.send(bad)
        assert (answer.status_code, answer.error) == (None, SendError.BAD_REQUEST), answer
        assert answer.error_detail
        assert (await sender.send(request(server.url))).status_code == 200


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "127.0.0.1", ""])
async def test_other_schemes_are_refused(url: str) -> None:
    async with sending() as sender:
        answer = await sender.send(request(url))
    assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_SCHEME)


async def test_plain_http_is_refused_unless_allowed() -> None:
    async with serving(answering(OK)) as server, sending(EgressPolicy(LOOPBACK)) as sender:
        for url in (server.url, server.url.replace("http", "HTTP", 1)):
            answer = await sender.send(request(url))
            assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_SCHEME)
            assert "ORDERWIRE_ALLOW_HTTP" in answer.error_detail
    assert server.connections == 0


# Batches, aborting, the end, and accidents.


class Inbox:
    """Collects what `on_answers` brings."""

    def __init__(self) -> None:
        self._came = asyncio.Event()
        self.pairs: list[tuple[HttpRequest, HttpAnswer]] = []
        self.threads: set[int] = set()

    def __call__(self, answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        self.threads.add(threading.get_ident())
        self.pairs += answers
        self._came.set()

    async def holds(self, count: int) -> None:
        while len(self.pairs) < count:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), LONG_S)


@pytest.fixture
def open_files() -> Iterator[None]:
    """Nothing that the test opens may stay open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_submitted_requests_come_back_once_on_the_loop(open_files: None) -> None:
    inbox = Inbox()
    async with serving(answering(OK)) as server:
        sender = Sender(OPEN, on_answers=inbox, loop=asyncio.get_running_loop())
        sender.start()
        requests = [request(server.url, tag=number) for number in range(100)]
        sender.submit(requests[:50])
        sender.submit(requests[50:])
        assert sender.in_flight == 100
        await inbox.holds(100)
        assert sender.in_flight == 0
        assert {pair[0].tag for pair in inbox.pairs} == set(range(100))
        assert {pair[1].status_code for pair in inbox.pairs} == {200}
        assert inbox.threads == {threading.get_ident()}
        await sender.stop(1.0)


async def test_stop_waits_for_what_is_in_flight() -> None:
    inbox = Inbox()
    async with serving(answering(OK, delay_s=0.3)) as server:
        sender = Sender(OPEN, on_answers=inbox, loop=asyncio.get_running_loop())
        sender.start()
        sender.submit([request(server.url) for _ in range(10)])
        await sender.stop(LONG_S)
    assert [pair[1].status_code for pair in inbox.pairs] == [200] * 10


async def test_stop_aborts_what_outlasts_the_grace(open_files: None) -> None:
    inbox = Inbox()
    async with serving(never_answering) as server, serving(answering(OK)) as quick:
        sender = Sender(OPEN, on_answers=inbox, loop=asyncio.get_running_loop())
        sender.start()
        sender.submit([request(server.url, timeout_s=LONG_S) for _ in range(10)])
        sender.submit([request(quick.url)])
        started = time.monotonic()
        await sender.stop(0.3)
        assert time.monotonic() - started < LONG_S / 2
        errors = sorted(str(pair[1].error) for pair in inbox.pairs)
        assert errors == ["None", *["aborted"] * 10]
        assert sender.in_flight == 0
        with pytest.raises(RuntimeError):
            sender.submit([request(quick.url)])
        await sender.stop(0.0)


async def test_abort_gives_up_the_named_ones_only() -> None:
    async with serving(never_answering) as server, sending() as sender:
        tasks = {tag: asyncio.create_task(sender.send(request(server.url, timeout_s=LONG_S, tag=tag))) for tag in "abc"}
        await asyncio.sleep(0.1)
        sender.abort(["a", "c", "unknown"])
        assert (await tasks["a"]).error == SendError.ABORTED
        assert (await tasks["c"]).error == SendError.ABORTED
        assert not tasks["b"].done()
        sender.abort(["b"])
        assert (await tasks["b"]).error == SendError.ABORTED


async def test_a_raising_on_answers_is_reported_and_survived() -> None:
    seen: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.put_nowait(context))

    def broken(_answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        raise ZeroDivisionError

    async with serving(answering(OK)) as server:
        sender = Sender(OPEN, on_answers=broken, loop=asyncio.get_running_loop())
        sender.start()
        sender.submit([request(server.url)])
        reported = await asyncio.wait_for(seen.get(), LONG_S)
        assert isinstance(reported["exception"], ZeroDivisionError)
        assert (await sender.send(request(server.url))).status_code == 200
        await sender.stop(1.0)
    assert sender.callback_errors == 1


async def test_an_accident_of_our_own_fails_one_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from orderwire.delivery.connection import Connection

    whole = Connection._raw_headers

    def odd(self: Connection) -> bytes:
        if self.flight is not None and self.flight.request.tag == "odd":
            raise ZeroDivisionError
        return whole(self)

    monkeypatch.setattr(Connection, "_raw_headers", odd)
    inbox = Inbox()
    async with serving(answering(OK)) as server:
        sender = Sender(OPEN, on_answers=inbox, loop=asyncio.get_running_loop())
        sender.start()
        sender.submit([request(server.url, tag=tag) for tag in ("a", "odd", "b")])
        await inbox.holds(3)
        sender.submit([request(server.url, tag="c")])
        await inbox.holds(4)
        await sender.stop(1.0)
    assert {pair[0].tag: pair[1].error for pair in inbox.pairs} == {
        "a": None,
        "odd": SendError.INTERNAL,
        "b": None,
        "c": None,
    }
    assert sender.internal_errors == 1


async def test_a_cancelled_send_leaves_nothing_behind() -> None:
    async with serving(answering(OK, delay_s=0.2)) as server, sending() as sender:
        task = asyncio.create_task(sender.send(request(server.url)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await sender.send(request(server.url))).status_code == 200
        assert sender.in_flight == 0
