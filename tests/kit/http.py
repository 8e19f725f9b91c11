"""A small HTTP/1.1 client on raw sockets: quick enough for ten thousand requests, and willing to send nonsense."""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

CONNECTIONS_MAX = 64
ANSWER_WAIT_S = 60.0
HEAD_BYTES_MAX = 1024 * 1024

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers`: names in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def paths(self) -> list[str]:
        """The fields a problem names."""
        return [fault["path"] for fault in self.json.get("errors", [])]


class Client:
    """Keep-alive connections to one port of this machine. Belongs to the loop it is used on."""

    def __init__(self, port: int, connections_max: int = CONNECTIONS_MAX) -> None:
        self.port = port
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(connections_max)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request. Raises ConnectionError where it was not answered whole: it may or may not have counted."""
        lines = [f"{method} {target} HTTP/1.1", f"host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return await self.send(head + (body or b""), bodiless=method == "HEAD")

    async def send(self, request: bytes, *, bodiless: bool = False) -> Answer:
        """These very bytes as a request. Raises ConnectionError, TimeoutError."""
        async with self._room:
            reader, writer = await self._connection()
            try:
                async with asyncio.timeout(ANSWER_WAIT_S):
                    writer.write(request)
                    answer = await _read_answer(reader, bodiless=bodiless)
            except asyncio.IncompleteReadError as error:
                await _end(writer)
                raise ConnectionError("the connection ended before the answer did") from error
            except BaseException:
                await _end(writer)
                raise
            if answer.headers.get("connection", "").lower() == "close":
                await _end(writer)
            else:
                self._idle.append((reader, writer))
            return answer

    async def close(self) -> None:
        """End every connection."""
        idle, self._idle = self._idle, []
        for _, writer in idle:
            await _end(writer)

    async def _connection(self) -> Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            await _end(writer)
        return await asyncio.open_connection("127.0.0.1", self.port, limit=HEAD_BYTES_MAX)


async def _read_answer(reader: asyncio.StreamReader, *, bodiless: bool) -> Answer:
    status, headers = 100, dict[str, str]()
    while status < 200:  # interim answers
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        status = int(first.split(" ", 2)[1])
        headers = dict(_headers(lines))
    if bodiless or status in (204, 304):
        return Answer(status, headers)
    if "chunked" in headers.get("transfer-encoding", ""):
        return Answer(status, headers, await _read_chunks(reader))
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _headers(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
