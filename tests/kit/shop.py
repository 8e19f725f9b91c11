"""A tenant of its own on a running node, its receivers, and what a shop does: by the public API and nothing else."""

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlencode

from tests.kit.http import Answer, Client
from tests.kit.node import Node
from tests.kit.receiver import Behaviour, Endpoint, Receiver

WITHIN_S = 60.0
POLL_S = 0.05
PAGE = 250
# Quick enough for a test; as many attempts as the default schedule has.
QUICKLY = {"schedule_s": [0, *[0.05] * 9]}
ONCE = {"schedule_s": [0]}
NEVER_AGAIN = {"schedule_s": [0, 86_400]}  # a second attempt is due, but not while we look

T = TypeVar("T")


class Api:
    """The HTTP API with one key, for one tenant."""

    def __init__(self, client: Client, key: str, tenant: str | None = None) -> None:
        self.client = client
        self.key = key
        self.tenant = tenant

    def headers(self, **more: str) -> dict[str, str]:
        """What every call carries."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return headers | ({"orderwire-tenant": self.tenant} if self.tenant else {}) | more

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request; `body` bytes go as they are, anything else as JSON. `_` in a header's name means `-`."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, path, self.headers(**named), content)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """One request that must succeed; its JSON."""
        answer = await self.call(method, path, body, **headers)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:1000]!r}"
        return answer.json if answer.body else None

    async def every(self, path: str, **query: object) -> list[Any]:
        """All pages of a list, newest first."""
        rows: list[Any] = []
        query["limit"] = PAGE
        while True:
            page = await self.ask("GET", f"{path}?{urlencode(query)}")
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            query["cursor"] = page["next_cursor"]


class Shop:
    """A tenant with its receivers."""

    def __init__(self, node: Node, api: Api, receiver: Receiver) -> None:
        self.node = node
        self.api = api
        self.receiver = receiver
        self.tenant = api.tenant or ""

    async def subscribe(
        self,
        behaviour: Behaviour | None = None,
        *,
        events: Iterable[str] = ("*",),
        config: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Endpoint:
        """A new endpoint with a destination that sends to it."""
        endpoint = self.receiver.endpoint(behaviour)
        made = await self.destination(endpoint.url, events=events, config=config, **fields)
        endpoint.destination = made["id"]
        endpoint.secrets = (await self.api.ask("GET", f"/v1/destinations/{made['id']}/secret"))["secrets"]
        return endpoint

    async def destination(
        self, url: str, *, events: Iterable[str] = ("*",), config: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A new destination that sends to `url`."""
        body = {"kind": "webhook", "name": "hook", "events": list(events), "config": {"url": url, **(config or {})}}
        made: dict[str, Any] = await self.api.ask("POST", "/v1/destinations", {"retry": QUICKLY, **body, **fields})
        return made

    async def publish(self, type: str = "order.created", data: object = None, **fields: Any) -> dict[str, Any]:
        """One event that must be taken; the answer."""
        body = {"type": type, "data": {} if data is None else data, **fields}
        answer: dict[str, Any] = await self.api.ask("POST", "/v1/events", body)
        return answer

    async def publish_all(self, events: Iterable[dict[str, Any]]) -> list[str]:
        """Any number of events, a thousand a batch, in order; their ids."""
        ids: list[str] = []
        for chunk in _chunks([{"type": "order.created", "data": {}, **event} for event in events], 1000):
            answer = await self.api.ask("POST", "/v1/events/batch", {"events": chunk})
            ids += [one["id"] for one in answer["data"]]
        return ids

    async def delivery(self, event_id: str, endpoint: Endpoint | None = None) -> dict[str, Any]:
        """The latest delivery of an event, to one endpoint or to the only one."""
        query = f"?event={event_id}" + (f"&destination={endpoint.destination}" if endpoint else "")
        found: dict[str, Any] = (await self.api.ask("GET", f"/v1/deliveries{query}"))["data"][0]
        return found

    async def attempts(self, delivery_id: str) -> list[dict[str, Any]]:
        """Of one delivery, oldest first."""
        return (await self.api.every(f"/v1/deliveries/{delivery_id}/attempts"))[::-1]

    async def statuses(self, **query: object) -> Counter[str]:
        """How many deliveries there are in each state."""
        return Counter(row["status"] for row in await self.api.every("/v1/deliveries", **query))

    async def unfinished(self) -> int:
        """How many deliveries are not at their end."""
        pages = await asyncio.gather(
            *(self.api.every("/v1/deliveries", status=status) for status in ("pending", "retrying"))
        )
        return sum(map(len, pages))

    async def settled(self, within_s: float = WITHIN_S) -> None:
        """Until every delivery is at its end."""

        async def nothing_left() -> bool:
            return await self.unfinished() == 0

        await until(nothing_left, within_s)

    async def finished(self, event_id: str, endpoint: Endpoint | None = None) -> dict[str, Any]:
        """The latest delivery of an event, once it is at its end."""
        return await self.in_state(event_id, "delivered", "failed", "cancelled", endpoint=endpoint)

    async def in_state(self, event_id: str, *states: str, endpoint: Endpoint | None = None) -> dict[str, Any]:
        """The latest delivery of an event, once it is in one of `states`."""

        async def look() -> dict[str, Any] | None:
            found = await self.delivery(event_id, endpoint)
            return found if found["status"] in states else None

        return await until(look)


@contextlib.asynccontextmanager
async def opened(node: Node, *, tenant: str | None = None, host: str = "127.0.0.1") -> AsyncIterator[Shop]:
    """A shop on `node`, as a new tenant unless one is named; no webhook may have come with a wrong signature."""
    async with Client(node.port) as client, Receiver(host) as receiver:
        admin = Api(client, node.key)
        if tenant is None:
            tenant = f"shop-{secrets.token_hex(4)}"
            await admin.ask("POST", "/v1/tenants", {"id": tenant, "name": "A shop"})
        yield Shop(node, Api(client, node.key, tenant), receiver)
        assert receiver.forged == 0, "a webhook came with a signature that does not verify"


async def until(look: Callable[[], Awaitable[T | None]], within_s: float = WITHIN_S) -> T:
    """Ask again until the answer is true; the answer. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not (found := await look()):  # noqa: ASYNC110 - another process knows when
            await asyncio.sleep(POLL_S)
    return found


async def came(endpoint: Endpoint, count: int, within_s: float = WITHIN_S) -> None:
    """Until so many different webhooks have come."""
    async with asyncio.timeout(within_s):
        while len(set(endpoint.ids)) < count:  # noqa: ASYNC110 - another process knows when
            await asyncio.sleep(POLL_S)


async def quiet(endpoint: Endpoint, for_s: float = 0.5) -> None:
    """Until nothing more has come for a while: what is not to be sent would have come by then."""
    seen = -1
    while seen != len(endpoint.webhooks):
        seen = len(endpoint.webhooks)
        await asyncio.sleep(for_s)


def _chunks(rows: list[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
