"""Receivers that mean harm: how each behaves, and the outcomes that are right for it."""

import asyncio
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable

from tests.kit.receiver import Behaviour, Reply, always

MIB = 1024 * 1024
FAR_DATE = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
FAR_OFFSET = "Mon, 01 Jan 2029 00:00:00 +99999999999999"


def playing(play: Callable[[StreamWriter], Awaitable[None]]) -> Behaviour:
    """On the bare connection, whatever was asked."""
    return lambda _: play


def saying(*parts: bytes, then_wait: bool = False) -> Behaviour:
    """These bytes, then the end of the connection, or nothing more."""

    async def play(writer: StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_wait:
            await asyncio.sleep(3600)

    return playing(play)


async def drip(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    for _ in range(100):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.2)


async def drip_headers(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        writer.write(b"x-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.2)


async def flood(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
        await writer.drain()


async def promise(writer: StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


OK_HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE: dict[str, tuple[Behaviour, set[str]]] = {
    "never answers": (saying(then_wait=True), {"timeout"}),
    "drips its body": (playing(drip), {"timeout"}),
    "drips its headers": (playing(drip_headers), {"timeout"}),
    "stops in the body": (saying(OK_HEAD + b"content-length: 9\r\n\r\n1234", then_wait=True), {"timeout"}),
    "promises for ever": (playing(promise), {"timeout", "bad_answer"}),
    "closes at once": (saying(), {"connection_lost"}),
    "closes in the headers": (saying(OK_HEAD + b"content-le"), {"connection_lost"}),
    "closes in the body": (saying(OK_HEAD + b"content-length: 9\r\n\r\n1234"), {"connection_lost"}),
    "closes between chunks": (
        saying(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n"),
        {"connection_lost"},
    ),
    "talks nonsense": (saying(b"\x00\xff what?\r\n\r\n"), {"bad_answer"}),
    "sends endless headers": (saying(OK_HEAD + b"x: y\r\n" * 200_000), {"bad_answer"}),
    "sends one long header": (saying(OK_HEAD + b"x: " + b"y" * MIB), {"bad_answer"}),
    "sends a wrong length": (saying(OK_HEAD + b"content-length: -1\r\n\r\n"), {"bad_answer"}),
    "sends two lengths": (
        saying(OK_HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n12"),
        {"bad_answer", "delivered"},
    ),
    "sends a wrong chunk": (saying(OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), {"bad_answer"}),
    "redirects to the metadata": (
        always(302, location="http://169.254.169.254/latest/meta-data/"),
        {"redirected"},
    ),
    "redirects to itself": (always(307, location="/"), {"redirected"}),
    "asks to wait beyond all years": (always(429, retry_after=FAR_DATE), {"throttled"}),
    "asks to wait beyond all zones": (always(503, retry_after=FAR_OFFSET), {"throttled"}),
    "asks to wait for nonsense": (always(429, retry_after="\x01 soon"), {"throttled", "bad_answer"}),
    "asks to wait for 10^40 s": (always(429, retry_after="1" + "0" * 40), {"throttled"}),
    "answers 10 MB": (lambda _: Reply(500, bytes(10 * MIB)), {"rejected"}),
    "answers NUL and bad UTF-8": (lambda _: Reply(500, b"\x00\xff\xfe{\xc3\x28\xed\xa0\x80"), {"rejected"}),
    "answers 999": (saying(b"HTTP/1.1 999 \xff\x00\r\ncontent-length: 0\r\n\r\n"), {"rejected", "bad_answer"}),
    "answers early and more": (
        saying(b"HTTP/1.1 400 X\r\ncontent-length: 1\r\n\r\n1234HTTP/1.1 200 OK\r\n"),
        {"rejected"},
    ),
    "floods with a 2xx": (playing(flood), {"delivered"}),
    "takes it with 10 MB": (lambda _: Reply(200, b"x" * 10 * MIB), {"delivered"}),
}
