"""A real node for tests of the management half: SQLite, dispatcher, HTTP on loopback. No hot routes."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from orderwire.api.app import create_app
from orderwire.clock import Clock, SystemClock
from orderwire.crypto import SecretBox
from orderwire.delivery.dispatcher import Dispatcher
from orderwire.delivery.egress import url_problem
from orderwire.delivery.http import Sender
from orderwire.ids import new_id
from orderwire.model import Attempt, Destination, Event, RawBody
from orderwire.observe.live import Live
from orderwire.service.configuration import Configuration
from orderwire.service.event_types import EventTypes
from orderwire.service.ports import SourceKind
from orderwire.service.rates import Rates
from orderwire.service.services import Services, build_services
from orderwire.sources.standard import KIND as STANDARD
from orderwire.store.base import AcceptItem, Finish, Target, Work
from orderwire.store.sqlite import SqliteStore
from tests.delivery.http_servers import OPEN

ADMIN = "ow_admin-key-of-the-tests"
BOX = SecretBox([bytes(32)])
KINDS: dict[str, SourceKind] = {STANDARD.kind: STANDARD}


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


class Quiet:
    """Reactions of nobody: this node has no hot half."""

    def announce_failed(self, work: Work, attempt: Attempt) -> AcceptItem | None:
        return None

    def disable(self, destination_id: str, reason: str) -> None:
        return None

    def finished(self, pairs: Sequence[tuple[Work, Finish]]) -> None:
        return None


@dataclass
class Node:
    """A running node and a client of it."""

    port: int
    services: Services
    app: FastAPI
    store: SqliteStore
    dispatcher: Dispatcher
    key: str = ADMIN

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

    async def destination(self, url: str = "https://example.com/hook", **fields: Any) -> dict[str, Any]:
        """A new destination."""
        body = {"kind": "webhook", "name": "shop", "events": ["order.*"], "config": {"url": url}} | fields
        answer = await self.call("POST", "/v1/destinations", body)
        assert answer.status == 201, answer.raw
        made: dict[str, Any] = answer.json
        return made

    async def make_key(self, role: str, tenant: str = "default") -> str:
        """A new key."""
        answer = await self.call("POST", "/v1/keys", {"tenant": tenant, "role": role})
        assert answer.status == 201, answer.raw
        key: str = answer.json["key"]
        return key

    async def accept(self, type_name: str, data: object = None, **fields: Any) -> Event:
        """Keep an event with its deliveries, as publishing does; they wait in the store."""
        now = self.services.clock.now()
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        fields = {"tenant": "default", "time_at": now, "received_at": now} | fields
        event = Event(id=new_id("evt", now), type=type_name, data=content, **fields)
        wanted: tuple[Destination, ...] = self.services.configuration.wanting(event)
        targets = tuple(Target(delivery_id=new_id("dlv", now), destination=one.id) for one in wanted)
        await self.store.accept([AcceptItem(event=event, targets=targets)], now)
        for one in wanted:
            self.dispatcher.wake(one.id)
        return event


async def until(condition: Any, within_s: float = 10.0) -> Any:
    """Ask again until `condition()` is true; its value."""
    async with asyncio.timeout(within_s):
        while not (value := await condition()):
            await asyncio.sleep(0.01)
    return value


@contextlib.asynccontextmanager
async def running_node(
    folder: Path, *, rates: tuple[float, float] = (0, 0), streams_max: int = 2, clock: Clock | None = None
) -> AsyncIterator[Node]:
    """A node in `folder`, stopped at the end."""
    clock = clock or SystemClock()
    store = SqliteStore(folder / "orderwire.db", clock)
    await store.open()
    configuration = Configuration(store, BOX, clock, ADMIN)
    await configuration.load()
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher(
        store, clock, Quiet(), lambda on_answers: Sender(OPEN, on_answers=on_answers, loop=loop)
    )

    def hear(kind: str, id_: str, value: object) -> None:
        if kind == "destination":
            dispatcher.configure(value) if isinstance(value, Destination) else dispatcher.forget(id_)

    await dispatcher.start(configuration.destinations)
    configuration.subscribe(hear)
    services = build_services(
        store=store,
        configuration=configuration,
        event_types=EventTypes(configuration, clock),
        clock=clock,
        dispatcher=dispatcher,
        live=Live(streams_max),
        rates=Rates(clock, per_key=rates[0], per_tenant=rates[1]),
        source_kinds=KINDS,
        url_problem=partial(url_problem, allow_http=True),
        replay_asked=lambda: None,
    )
    await services.start()
    app = create_app(services, registry=CollectorRegistry(), metrics_token="metrics-token")
    async with _serving(app) as port:
        yield Node(port, services, app, store, dispatcher)
        await services.stop()
    await dispatcher.stop(1)
    await store.close()


@contextlib.asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.005)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


RAW = RawBody(content_type="application/json", headers="{}", body=b'{"as": "sent"}')
