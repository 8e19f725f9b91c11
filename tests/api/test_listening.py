"""The wire: what a stranger may make a node hold, and for how long."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from orderwire.api import listening
from orderwire.api.listening import BoundedProtocol, sweep

GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
MIB = 1024 * 1024


class Listener:
    """An application behind bounded connections: it reads the whole body and answers its length."""

    def __init__(self) -> None:
        self.server = uvicorn.Server(
            uvicorn.Config(self.application, interface="asgi3", proxy_headers=False, log_config=None, lifespan="off")
        )
        self.answer_bytes = 0
        self.port = 0

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-size", str(size).encode())]})
        await send({"type": "http.response.body", "body": bytes(self.answer_bytes)})

    @property
    def connections(self) -> set[Any]:
        found: set[Any] = self.server.server_state.connections
        return found

    async def sweep_until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.connections) != count:
                sweep(self.connections)
                await asyncio.sleep(0.01)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    config = made.server.config
    config.load()
    loop = asyncio.get_running_loop()
    make: Callable[[], asyncio.Protocol] = lambda: BoundedProtocol(  # noqa: E731
        config=config, server_state=made.server.server_state, app_state={}
    )
    server = await loop.create_server(make, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for connection in list(made.connections):
        connection.transport.abort()
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def sent(listener: Listener, *pieces: bytes) -> bytes:
    """All that is answered, or nothing where the connection was cut."""
    async with connected(listener) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                return await reader.read()
        return b""


@pytest.mark.parametrize(
    "pieces",
    [
        (GET + b"x: ", *[b"a" * 65_536] * 400),
        (GET, *[b"x: y\r\n" * 10_000] * 400),
        (b"GET /", *[b"a" * 65_536] * 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ", *[b"a" * 65_536] * 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;", *[b"a" * 65_536] * 400),
    ],
)
async def test_endless_heads_are_cut(listener: Listener, pieces: tuple[bytes, ...]) -> None:
    answer = await sent(listener, *pieces)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    await listener.sweep_until(0)


async def test_what_is_within_the_bounds_is_taken(listener: Listener) -> None:
    end = b"connection: close\r\n\r\n"
    assert b" 200 " in await sent(listener, GET, b"x: " + b"a" * 50_000 + b"\r\n", end)
    body = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (8 * MIB)
    assert b"x-size: 8388608" in await sent(listener, body, *[b"a" * MIB] * 8)
    chunked = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    assert b"x-size: 100000" in await sent(listener, chunked, *[b"1\r\na\r\n" * 10_000] * 10, b"0\r\n\r\n")


@pytest.mark.parametrize("first", [b"", b"\r\n", GET, GET + b"content-length: 9\r\n\r\nabc"])
async def test_who_does_not_go_on_is_cut(listener: Listener, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        async with connected(listener) as (_, slow):
            slow.write(first)
            await asyncio.sleep(0.05)
            sweep(listener.connections)
            assert len(listener.connections) == 2
            monkeypatch.setattr(listening, "HEAD_S_MAX", 0.0)
            await listener.sweep_until(1)  # who rests between two requests is uvicorn's to end


async def test_who_does_not_read_is_cut(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    listener.answer_bytes = 64 * MIB
    async with connected(listener) as (_, writer):
        writer.write(GET + b"\r\n")
        await asyncio.sleep(0.2)
        sweep(listener.connections)
        assert len(listener.connections) == 1
        monkeypatch.setattr(listening, "WRITE_S_MAX", 0.0)
        await listener.sweep_until(0)


async def test_connections_are_bounded(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS_MAX", 1)
    async with connected(listener) as (reader, writer):
        await asyncio.sleep(0.05)
        async with connected(listener) as (refused, _):
            with contextlib.suppress(ConnectionError):
                assert await refused.read() == b""
        writer.write(GET + b"\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
