"""Somebody's endpoints: real sockets that answer as they are told, request by request, and verify every signature.

The verifying is done by `standardwebhooks`, the specification's own package: it shares no bug with the node.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any, Self

from standardwebhooks import Webhook as Oracle
from standardwebhooks.webhooks import WebhookVerificationError

SYMMETRIC = "whsec_"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, sent `after_s` seconds."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0

    def encode(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status != 204:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Received:
    """One webhook as it came. `number`: the how manieth under this id at this endpoint, from 1."""

    id: str
    number: int
    at: float
    headers: dict[str, str]
    body: bytes
    signed_by: tuple[str, ...]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def subject(self) -> str | None:
        subject: str | None = self.json["subject"]
        return subject


# Plays with the bare connection instead of answering; it is closed afterwards.
Play = Callable[[asyncio.StreamWriter], Awaitable[None]]
Behaviour = Callable[[Received], Reply | Play]


def always(status: int, **headers: str) -> Behaviour:
    """The same answer to everyone; `retry_after` names the header `retry-after`."""
    reply = Reply(status, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return lambda _: reply


def failing_first(times: int, status: int = 500) -> Behaviour:
    """Each webhook fails so many times, then is taken."""
    return lambda webhook: Reply(status if webhook.number <= times else 204)


class Endpoint:
    """One path of a receiver: what came there, and how it answers."""

    def __init__(self, path: str, url: str, behaviour: Behaviour) -> None:
        self.path = path
        self.url = url
        self.behaviour = behaviour
        self.destination = ""  # the id of the destination that sends here
        self.secrets: list[str] = []  # newest first
        self.webhooks: list[Received] = []
        self.forged = 0  # requests that no secret of ours had signed
        self.in_flight = self.in_flight_max = 0
        self.overlaps = 0  # requests that came while another of their subject was in flight
        self._numbers: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()

    @property
    def ids(self) -> list[str]:
        """In the order they came, repeats too."""
        return [webhook.id for webhook in self.webhooks]

    @property
    def repeats(self) -> int:
        return len(self.webhooks) - len(set(self.ids))

    def take(self, headers: dict[str, str], body: bytes) -> Received:
        """Note one request."""
        webhook_id = headers.get("webhook-id", "")
        self._numbers[webhook_id] += 1
        signed_by = tuple(secret for secret in self.secrets if _signed(secret, headers, body))
        self.forged += bool(self.secrets) and not signed_by
        webhook = Received(webhook_id, self._numbers[webhook_id], monotonic(), headers, body, signed_by)
        self.webhooks.append(webhook)
        return webhook

    @contextlib.contextmanager
    def busy_with(self, webhook: Received) -> Any:
        """From the request's last byte to the answer's."""
        subject = webhook.subject
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        if subject is not None:
            self.overlaps += self._busy[subject] > 0
            self._busy[subject] += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if subject is not None:
                self._busy[subject] -= 1


class Receiver:
    """A listening socket with any number of endpoints, each at its own path."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.endpoints: dict[str, Endpoint] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def endpoint(self, behaviour: Behaviour | None = None) -> Endpoint:
        """A new one; takes everything unless told otherwise."""
        path = f"/{len(self.endpoints) + 1}"
        made = Endpoint(path, f"http://{self.host}:{self.port}{path}", behaviour or always(204))
        self.endpoints[path] = made
        return made

    @property
    def forged(self) -> int:
        """Over all endpoints."""
        return sum(endpoint.forged for endpoint in self.endpoints.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        endpoint = self.endpoints[first.split(" ")[1]]
        webhook = endpoint.take(headers, body)
        with endpoint.busy_with(webhook):
            reply = endpoint.behaviour(webhook)
            if not isinstance(reply, Reply):
                await reply(writer)
                return False
            if reply.after_s:
                await asyncio.sleep(reply.after_s)
            writer.write(reply.encode())
        await writer.drain()
        return True


def _signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    if not secret.startswith(SYMMETRIC):
        return False
    try:
        Oracle(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True
