"""A real node for tests of the HTTP API: everything `serve` runs, on loopback, and a client of it."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp

from orderwire import wiring
from orderwire.clock import Clock
from orderwire.service.services import Services
from orderwire.settings import Settings

ADMIN = "ow_admin-key-of-the-tests"
METRICS_TOKEN = "metrics-token"
T = TypeVar("T")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def paths(self) -> list[str]:
        """The fields a problem names."""
        return [fault["path"] for fault in self.json.get("errors", [])]


@dataclass
class Node:
    """A running node and a client of it."""

    port: int
    inner: wiring.Node
    key: str = ADMIN

    @property
    def services(self) -> Services:
        return self.inner.services

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; `body` bytes go as they are, anything else as JSON."""
        return await asyncio.to_thread(self._call, method, path, body, key or self.key, headers or {})

    def _call(self, method: str, path: str, body: object, key: str, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {key}"}
        if content is not None:
            sent["content-type"] = "application/json"
        try:
            connection.request(method, path, content, {k: v for k, v in (sent | headers).items() if v})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    async def destination(self, url: str = "https://127.0.0.1:1/hook", **fields: Any) -> dict[str, Any]:
        """A new destination; by default nobody answers there."""
        body = {"kind": "webhook", "name": "shop", "events": ["order.*"], "config": {"url": url}} | fields
        answer = await self.call("POST", "/v1/destinations", body)
        assert answer.status == 201, answer.raw
        made: dict[str, Any] = answer.json
        return made

    async def paused(self, **fields: Any) -> dict[str, Any]:
        """A new destination that sends nothing."""
        made = await self.destination(**fields)
        answer = await self.call("DELETE", f"/v1/destinations/{made['id']}/activation")
        assert answer.status == 200, answer.raw
        return made

    async def make_key(self, role: str, tenant: str = "default") -> str:
        """A new key."""
        answer = await self.call("POST", "/v1/keys", {"tenant": tenant, "role": role})
        assert answer.status == 201, answer.raw
        key: str = answer.json["key"]
        return key

    async def publish(self, type_name: str, data: object = None, *, tenant: str = "default", **fields: Any) -> str:
        """Publish an event; its id. `data` bytes go as they are."""
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        head = json.dumps({"type": type_name, **fields}).encode()
        answer = await self.call(
            "POST", "/v1/events", head[:-1] + b',"data":' + text + b"}", headers={"orderwire-tenant": tenant}
        )
        assert answer.status == 202, answer.raw
        made: str = answer.json["id"]
        return made


async def until(ask: Callable[[], Awaitable[T]], within_s: float = 10.0) -> T:
    """Ask again until the answer is true; the answer."""
    async with asyncio.timeout(within_s):
        while not (value := await ask()):  # noqa: ASYNC110 - it asks over HTTP
            await asyncio.sleep(0.01)
    return value


@contextlib.asynccontextmanager
async def running_node(folder: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Node]:
    """A node in `folder`, stopped at the end."""
    given = {
        "data": folder,
        "admin_key": SecretStr(ADMIN),
        "metrics_token": SecretStr(METRICS_TOKEN),
        "allow_http": True,
        "allow_networks": (ip_network("127.0.0.0/8"),),
        **settings,
    }
    inner = wiring.Node(Settings(**given), clock)
    await inner.start()
    try:
        async with _serving(inner.app) as port:
            yield Node(port, inner)
    finally:
        await inner.stop(1)


@contextlib.asynccontextmanager
async def _serving(app: ASGIApp) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        try:
            yield listener.getsockname()[1]
        finally:
            server.force_exit = False
            await server.shutdown([listener])
