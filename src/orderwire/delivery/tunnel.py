"""Through the operator's egress proxy: asks it to connect to an address that was checked (HTTP CONNECT)."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from typing import cast
from urllib.parse import unquote, urlsplit

from orderwire.delivery.exchange import SendError
from orderwire.delivery.flight import SendFailure

ANSWER_BYTES_MAX = 16 * 1024

_BLANK_LINE = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class Proxy:
    """Where the proxy is and how to speak to it, from its URL (`http://` or `https://`, with or without `user:pw@`)."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where the URL is none of a proxy."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the egress proxy must be an http:// or https:// URL")
        self.host = parts.hostname
        self.secure = parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self._authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._authorization = f"Proxy-Authorization: Basic {b64encode(pair).decode()}\r\n"

    def request(self, address: str, port: int) -> bytes:
        """What asks for a connection to a numeric `address`."""
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{self._authorization}\r\n".encode("ascii")


class Tunnel(asyncio.Protocol):
    """A connection to the proxy until it leads to the receiver; then another protocol takes its transport over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._answered: asyncio.Future[str | None] = loop.create_future()

    async def open(self, request: bytes) -> asyncio.Transport:
        """Ask, and wait until the proxy has connected. Raises SendFailure where it has not."""
        transport = self._transport
        if transport is not None:
            transport.write(request)
        problem = await self._answered
        if problem is not None or transport is None:
            raise SendFailure(SendError.CONNECT_FAILED, problem or "the egress proxy closed the connection")
        return transport

    def close(self) -> None:
        """Close it, whoever's it is by now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Read the proxy's answer, whose end is where the receiver's bytes would begin."""
        self._head += data
        if _BLANK_LINE in self._head or len(self._head) > ANSWER_BYTES_MAX:
            self._settle(_problem(self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy closed."""
        self._settle("the egress proxy closed the connection" + (f": {exc}" if exc else ""))

    def _settle(self, problem: str | None) -> None:
        if not self._answered.done():
            self._answered.set_result(problem)


def _problem(head: bytes) -> str | None:
    found = _STATUS_LINE.match(head)
    if found is None or _BLANK_LINE not in head:
        return "the egress proxy did not answer with valid HTTP"
    status = int(found[1])
    if status == 407:
        return "the egress proxy refused our user name and password (407)"
    if not 200 <= status < 300:
        return f"the egress proxy refused to connect (status {status})"
    return None if head.index(_BLANK_LINE) + 4 == len(head) else "the egress proxy sent more than its answer"
