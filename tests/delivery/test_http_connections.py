"""Connections over their life: made, kept, dropped, replaced; and what is in the making when time is up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orderwire.delivery import connection, connector, pool
from orderwire.delivery.http import HttpAnswer, HttpRequest, Sender, SendError, TlsOptions
from tests.delivery.http_servers import (
    OK,
    OPEN,
    Authority,
    answering,
    never_answering,
    read_request,
    request,
    sending,
    serving,
)

LONG_S = 30.0  # no test waits this long unless something is broken


@pytest.fixture(autouse=True)
def open_files() -> Iterator[None]:
    """Nothing that a test opens may stay open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@contextlib.asynccontextmanager
async def accepting() -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A server that accepts and then says nothing: its port, and the connections."""
    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], writers
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def closes_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(OK)
    await read_request(reader)


async def test_a_request_on_a_kept_connection_that_dies_unanswered_is_sent_again_on_a_fresh_one() -> None:
    async with serving(closes_the_second) as server, sending() as sender:
        for _ in range(4):
            answer = await sender.send(request(server.url))
            assert (answer.status_code, answer.error) == (200, None), answer.error_detail
    assert server.connections == 4
    assert len(server.requests) == 7


async def test_it_is_sent_again_only_once() -> None:
    async def closes_all_but_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if len(server.requests) == 1:
            writer.write(OK)
            await read_request(reader)

    async with serving(closes_all_but_the_first) as server, sending() as sender:
        assert (await sender.send(request(server.url))).status_code == 200
        answer = await sender.send(request(server.url))
        assert (answer.status_code, answer.error) == (None, SendError.CONNECTION_LOST)
    assert len(server.requests) == 3


async def test_what_must_not_be_sent_twice_gets_a_fresh_connection() -> None:
    async with serving(closes_the_second) as server, sending() as sender:
        for _ in range(3):
            assert (await sender.send(request(server.url, at_most_once=True))).status_code == 200
    assert (server.connections, len(server.requests)) == (3, 3)


async def test_a_receiver_that_speaks_unasked_loses_its_connection() -> None:
    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)
            await asyncio.sleep(0.02)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")

    async with serving(chatty) as server, sending() as sender:
        for _ in range(3):
            assert (await sender.send(request(server.url))).body == b"ok"
            await asyncio.sleep(0.05)
    assert server.connections == 3


async def test_an_answer_sent_twice_in_one_piece_is_taken_once() -> None:
    twice = OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    async with serving(answering(twice)) as server, sending() as sender:
        for _ in range(3):
            assert (await sender.send(request(server.url))).body == b"ok"
    assert server.connections == 3


async def test_a_receiver_that_speaks_first_is_no_receiver() -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await read_request(reader)

    async with serving(banner) as server, sending() as sender:
        answer = await sender.send(request(server.url))
    assert answer.status_code is None
    assert answer.error in (SendError.CONNECTION_LOST, SendError.BAD_ANSWER)


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    async with serving(answering(b"HTTP/1.0 200 OK\r\n\r\nhello", then_close=True)) as server, sending() as sender:
        for _ in range(2):
            answer = await sender.send(request(server.url))
            assert (answer.body, answer.error) == (b"hello", None)
    assert server.connections == 2


async def test_resting_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_S_MAX", 0.1)
    monkeypatch.setattr(pool, "SWEEP_S", 0.02)
    async with serving(answering(OK)) as server, sending() as sender:
        for _ in range(2):
            for _ in range(2):
                assert (await sender.send(request(server.url))).status_code == 200
            await asyncio.sleep(0.25)
            assert not sender._pool.opened
    assert server.connections == 2


async def test_old_connections_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AGE_S_MAX", 0.0)
    async with serving(answering(OK)) as server, sending() as sender:
        for _ in range(3):
            assert (await sender.send(request(server.url))).status_code == 200
    assert server.connections == 3


async def test_no_more_than_so_many_rest_and_the_longest_idle_go_first() -> None:
    def ignore(_answers: list[tuple[HttpRequest, HttpAnswer]]) -> None: ...

    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(answering(OK))) for _ in range(3)]
        sender = Sender(OPEN, on_answers=ignore, loop=asyncio.get_running_loop(), connections_max=2)
        sender.start()
        for number in (0, 1, 2, 2, 1, 0):
            assert (await sender.send(request(servers[number].url))).status_code == 200
        assert len(sender._pool.opened) == 2
        await sender.stop(1.0)
        assert not sender._pool.opened
    assert [server.connections for server in servers] == [2, 1, 1]


async def test_the_next_address_is_tried_where_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, _port: object, **_fields: int) -> list[tuple[object, ...]]:
        places = ["127.0.0.3", "127.0.0.2", "127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 0)) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with serving(answering(OK)) as server, sending() as sender:
        answer = await sender.send(request(f"http://shop.example:{server.port}/"))
        assert (answer.status_code, answer.connected_address) == (200, "127.0.0.1"), answer.error_detail
    async with sending() as sender:
        answer = await sender.send(request(f"http://shop.example:{server.port}/"))
        assert answer.error == SendError.CONNECT_FAILED
        assert "127.0.0.3" in answer.error_detail


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = connector.Connector._dial_one

    async def dial_one(self: connector.Connector, address: str, port: int) -> socket.socket:
        if address == "127.0.0.9":
            await asyncio.sleep(LONG_S)
        return await whole(self, address, port)

    monkeypatch.setattr(connector.Connector, "_dial_one", dial_one)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_arguments, **_fields: [(2, 1, 6, "", ("127.0.0.9", 0)), (2, 1, 6, "", ("127.0.0.1", 0))],
    )
    async with serving(answering(OK)) as server, sending() as sender:
        answer = await sender.send(request(f"http://shop.example:{server.port}/", timeout_s=0.6))
        assert (answer.status_code, answer.connected_address) == (200, "127.0.0.1"), answer.error_detail


async def test_every_deadline_is_met_though_there_is_one_timer() -> None:
    async with serving(never_answering) as server, sending() as sender:
        limits = [0.6, 0.1, 0.35, 0.1, 0.2, 0.5, 0.02]
        answers = await asyncio.gather(*(sender.send(request(server.url, timeout_s=limit)) for limit in limits))
    for limit, answer in zip(limits, answers, strict=True):
        assert answer.error == SendError.TIMEOUT
        assert limit * 1000 <= answer.duration_ms < limit * 1000 + LONG_S * 500


STAGES = ["looking up", "connecting", "shaking hands", "waiting"]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Hosts at which a request hangs: in the lookup, in the connecting. `release` lets go of the first."""
    release = threading.Event()
    real, whole = socket.getaddrinfo, connector.Connector._dial_one

    def look_up(host: str, port: object, **fields: int) -> object:
        if host == "hang.example":
            release.wait(LONG_S)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, port, **fields)  # type: ignore[arg-type]

    async def dial_one(self: connector.Connector, address: str, port: int) -> socket.socket:
        if address == "127.0.0.9":
            await asyncio.sleep(LONG_S)
        return await whole(self, address, port)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(connector.Connector, "_dial_one", dial_one)
    yield {
        "looking up": "http://hang.example:{}/",
        "connecting": "http://127.0.0.9:{}/",
        "shaking hands": "https://127.0.0.1:{}/",
        "waiting": "http://127.0.0.1:{}/",
    }
    release.set()


@pytest.mark.parametrize(
    ("stage", "words"),
    list(zip(STAGES, ["name was not resolved", "no connection", "TLS handshake", "whole answer"], strict=True)),
)
async def test_a_timeout_says_what_took_too_long(stage: str, words: str, stages: dict[str, str]) -> None:
    async with accepting() as (port, _), sending() as sender:
        answer = await sender.send(request(stages[stage].format(port), timeout_s=0.2))
    assert (answer.status_code, answer.error) == (None, SendError.TIMEOUT)
    assert words in answer.error_detail
    assert answer.duration_ms >= 200


@pytest.mark.parametrize("stage", STAGES)
async def test_stopping_and_aborting_reach_requests_at_every_stage(stage: str, stages: dict[str, str]) -> None:
    async with accepting() as (port, _), sending() as sender:
        sent = [
            asyncio.create_task(sender.send(request(stages[stage].format(port), timeout_s=LONG_S, tag=tag)))
            for tag in "ab"
        ]
        await asyncio.sleep(0.1)
        sender.abort(["a"])
        assert (await sent[0]).error == SendError.ABORTED
        assert not sent[1].done()
        await sender.stop(0.0)
        assert (await sent[1]).error == SendError.ABORTED


async def test_tls_connections_leave_nothing_open(tmp_path: Path) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path, "127.0.0.1")
    options = TlsOptions(ca_pem=authority.pem)
    for behaviour in (answering(OK), answering(OK, then_close=True), never_answering):
        async with serving(behaviour, tls=tls) as server, sending() as sender:
            url = f"https://127.0.0.1:{server.port}/"
            for _ in range(2):
                await sender.send(request(url, tls=options, timeout_s=0.3))
            await sender.send(request(url, timeout_s=0.3))


async def test_a_body_the_receiver_does_not_read_ends_with_the_deadline() -> None:
    async with accepting() as (port, writers), sending() as sender:
        sent = asyncio.create_task(sender.send(request(f"http://127.0.0.1:{port}/", b"x" * 30_000_000, timeout_s=0.3)))
        await asyncio.sleep(0.05)
        for writer in writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        assert (await sent).error == SendError.TIMEOUT


async def test_requests_may_be_submitted_from_within_on_answers() -> None:
    done, left, batches = asyncio.Event(), 200, list[int]()
    async with serving(answering(OK)) as server:

        def more(answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
            nonlocal left
            batches.append(len(answers))
            left -= len(answers)
            if left <= 0:
                done.set()
            else:
                sender.submit([request(server.url) for _ in range(min(8, left))])

        sender = Sender(OPEN, on_answers=more, loop=asyncio.get_running_loop())
        sender.start()
        sender.submit([request(server.url)])
        await asyncio.wait_for(done.wait(), LONG_S)
        await sender.stop(1.0)
    assert sender.internal_errors == 0
    assert sender.in_flight == 0
