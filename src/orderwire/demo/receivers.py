"""The four programs of the shop that want to know: inventory, email, analytics, the payments book.

Each is an HTTP server on a port of its own. It believes a webhook only by its signature, which it checks with code of
its own (`holds`: nothing of the node's), and keeps each `webhook-id` once. One is flaky, one is slow.
"""

import asyncio
import hmac
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import msgspec

TOLERANCE_S = 300
RETRY_SCHEDULE_S = (0, 1, 2, 4)  # of every destination here, so that a retry is seen soon
_HANG_UP_S = 1.0
_BODY_BYTES_MAX = 16 * 1024 * 1024
_CUT_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-le"


class Manner(NamedTuple):
    """How a receiver takes one webhook: seconds it needs, and what it answers; `None`: it hangs up."""

    wait_s: float = 0.0
    answer: int | None = 200


class Kept(NamedTuple):
    """One event as a receiver keeps it."""

    type: str
    subject: str | None
    time: str
    data: dict[str, Any]


class Took(NamedTuple):
    """What a receiver did with one webhook, for the screen. `nth`: how often it has come by now."""

    receiver: str
    id: str
    kept: Kept
    nth: int
    answer: int | None


Character = Callable[[str, int], Manner]  # of the webhook's id, coming for the nth time


@dataclass
class Receiver:
    """One of the four. `kept` is in the order of arrival; the figures are what the sums are made of."""

    name: str
    wants: tuple[str, ...]
    nature: str = ""
    character: Character = lambda _, __: Manner()
    ordering: str = "none"
    secret: str = ""
    destination: str = ""
    port: int = 0
    kept: dict[str, Kept] = field(default_factory=dict)
    came: Counter[str] = field(default_factory=Counter)
    rejected: int = 0  # webhooks it answered with an error
    cut: int = 0  # webhooks it kept, but hung up before saying so
    repeats: int = 0  # webhooks it had kept already
    invalid: int = 0  # requests without a signature it believes
    tell: Callable[[Took], None] = lambda _: None
    _server: asyncio.Server | None = None
    _open: dict["asyncio.Task[None]", asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many requests came."""
        return self.came.total() + self.invalid

    @property
    def retried(self) -> int:
        """How many events had to come more than once."""
        return sum(times > 1 for times in self.came.values())

    async def listen(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port and hang up."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._open.values():
            writer.close()
        if self._open:
            await asyncio.wait(self._open, timeout=_HANG_UP_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests one after another until the other side, or our manner, ends it."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = writer
        try:
            while (answer := await self._take(*await _request(reader))) is not None:
                writer.write(f"HTTP/1.1 {answer} {HTTPStatus(answer).phrase}\r\ncontent-length: 0\r\n\r\n".encode())
            writer.write(_CUT_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass  # the node has closed the connection, or somebody else talks nonsense
        finally:
            del self._open[task]
            writer.close()

    async def _take(self, headers: Mapping[str, str], body: bytes) -> int | None:
        """Check, keep, and say what to answer."""
        if not holds(self.secret, headers, body, time.time()):
            self.invalid += 1
            return 401
        id = headers["webhook-id"]
        self.came[id] += 1
        manner = self.character(id, self.came[id])
        await asyncio.sleep(manner.wait_s)
        event = msgspec.json.decode(body)
        kept = Kept(event["type"], event["subject"], event["timestamp"], event["data"])
        self.cut += manner.answer is None
        if manner.answer in (None, 200):
            self.repeats += id in self.kept
            self.kept.setdefault(id, kept)
        else:
            self.rejected += 1
        self.tell(Took(self.name, id, kept, self.came[id], manner.answer))
        return manner.answer


def four() -> tuple[Receiver, ...]:
    """The shop's receivers, not yet listening."""
    return (
        Receiver("inventory", ("order.*", "inventory.*", "refund.*")),
        Receiver("email", ("order.*", "customer.*", "checkout.*", "shipment.*"), "flaky", flaky),
        Receiver("analytics", ("*",), "slow", slow),
        Receiver("payments", ("payment.*", "refund.*", "dispute.*"), "in order", ordering="subject"),
    )


def flaky(id: str, nth: int) -> Manner:
    """Of sixteen events two fail at once, one fails twice, and one is kept but the connection breaks before it is said.

    Which, is decided by the id alone.
    """
    lot = sha256(id.encode()).digest()[0] % 16
    if nth == 1 and lot == 3:
        return Manner(answer=None)
    return Manner(answer=500 if nth <= {0: 1, 1: 1, 2: 2}.get(lot, 0) else 200)


def slow(id: str, _nth: int) -> Manner:
    """200 to 400 ms."""
    return Manner(wait_s=0.2 + sha256(id.encode()).digest()[1] / 1280)


def wanted(patterns: tuple[str, ...], type: str) -> bool:
    """Whether `type` is one of `patterns`, as the contract has it: `order.*` is everything below, `*` is all."""
    return any(
        pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1])) for pattern in patterns
    )


def holds(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether a webhook is signed with `secret` (Standard Webhooks `v1`) and fresh: all a receiver has to do."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    key = b64decode(secret.removeprefix("whsec_"))
    right = "v1," + b64encode(hmac.digest(key, f"{id}.{timestamp}.".encode() + body, "sha256")).decode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(right.encode(), one.encode()) for one in given)


async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """The next request's headers, names in lower case, and its body. Raises ValueError, IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    pairs = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _BODY_BYTES_MAX:
        raise ValueError("no sensible content-length")
    return headers, await reader.readexactly(length)
