"""The receiver: a process that answers each webhook 204, verifies every signature, and notes what came when.

It stands for someone's endpoint and shares the machine with the node, so it costs as little as it can:
a hand-written protocol, no framework. Its verification is its own: it must not share a bug with the node.
"""

import asyncio
import gc
from base64 import b64decode, b64encode
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic_ns
from typing import cast

import msgspec
import uvloop

from orderwire.bench.helper import Channel, Status
from orderwire.bench.payload import MARKER, MARKER_BYTES

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_REFUSAL = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_BLOCK_BYTES = 64
_BACKLOG = 4096


class ReceiverOrders(msgspec.Struct, frozen=True):
    """How many destinations to stand for (a port each), and where to write the log."""

    destinations: int
    log: str


class Secrets(msgspec.Struct, frozen=True):
    """The `whsec_` secret of each destination, in the order of the ports."""

    secrets: tuple[str, ...]


class Verifier:
    """Standard Webhooks `v1`, both HMAC pads hashed once."""

    def __init__(self, secret: str) -> None:
        """Prepare a `whsec_` secret."""
        key = b64decode(secret.removeprefix("whsec_")).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def holds(self, message: bytes, signatures: bytes) -> bool:
        """Whether one of the space-separated `signatures` is that of `message` (`id.timestamp.body`)."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        expected = b"v1," + b64encode(outer.digest())
        return expected == signatures or expected in signatures.split(b" ")


class Tally:
    """What came: counts, and for each valid webhook `DESTINATION RECEIVED_NS WEBHOOK_ID MARKER`, a line."""

    def __init__(self, destinations: int) -> None:
        """Nothing yet."""
        self.valid = self.invalid = self.first_ns = 0
        self.log = bytearray()
        self.verifiers: list[Verifier | None] = [None] * destinations

    def note(self, destination: int, now_ns: int, head: bytes, body: bytes) -> None:
        """Count one webhook."""
        webhook_id = field(head, b"\r\nwebhook-id: ")
        timestamp = field(head, b"\r\nwebhook-timestamp: ")
        signatures = field(head, b"\r\nwebhook-signature: ")
        verifier = self.verifiers[destination]
        if verifier is None or not verifier.holds(b"%b.%b.%b" % (webhook_id, timestamp, body), signatures):
            self.invalid += 1
            return
        self.valid += 1
        self.first_ns = self.first_ns or now_ns
        start = body.find(MARKER)
        self.log += b"%d %d %b %b\n" % (destination, now_ns, webhook_id, body[start : start + MARKER_BYTES])

    def status(self) -> Status:
        """How things stand."""
        return Status("running", self.valid, self.invalid, self.first_ns)


class WebhookProtocol(asyncio.Protocol):
    """One connection of the node: keep-alive, a constant answer, bodies by `content-length`."""

    def __init__(self, tally: Tally, destination: int) -> None:
        """Receive for one destination."""
        self._tally = tally
        self._destination = destination
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take every whole request out of what has come; keep the rest."""
        now_ns = monotonic_ns()
        if self._rest:
            data, self._rest = self._rest + data, b""
        while data:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:  # not found: -1, plus 4
                break
            head = data[: start - 2]
            length = field(head, b"\r\nContent-Length: ")
            if not length.isdigit():
                self._refuse()
                return
            end = start + int(length)
            if len(data) < end:
                break
            self._tally.note(self._destination, now_ns, head, data[start:end])
            self._transport.write(_ANSWER)
            data = data[end:]
        self._rest = data

    def _refuse(self) -> None:
        self._tally.invalid += 1
        self._transport.write(_REFUSAL)
        self._transport.close()


def field(head: bytes, name: bytes) -> bytes:
    """A header's value, empty where missing; `name` comes with CR LF before it, colon and space behind."""
    start = head.find(name)
    if start < 0:  # capitalised in another way
        start = head.lower().find(name.lower())
        if start < 0:
            return b""
    start += len(name)
    return head[start : head.find(b"\r", start)]


async def receive() -> None:
    """Listen on a port a destination until the orders end, then write the log."""
    loop = asyncio.get_running_loop()
    channel = await Channel.open()
    orders = await channel.orders(ReceiverOrders)
    tally = Tally(orders.destinations)
    ports = []
    for number in range(orders.destinations):
        server = await loop.create_server(partial(WebhookProtocol, tally, number), "127.0.0.1", 0, backlog=_BACKLOG)
        ports.append(server.sockets[0].getsockname()[1])
    channel.say(Status("ready", ports=tuple(ports)))
    tally.verifiers[:] = map(Verifier, (await channel.orders(Secrets)).secrets)
    saying = asyncio.create_task(channel.keep_saying(tally.status))
    await channel.ended()
    saying.cancel()
    Path(orders.log).write_bytes(tally.log)  # noqa: ASYNC240 - nothing else is left to do


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and a collection would show up as a late webhook
    uvloop.run(receive())
