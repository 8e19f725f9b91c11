"""One node, many shops: nobody sees or touches what is another's, and every key does what its role may."""

from typing import Any

import pytest

from tests.kit.node import Node
from tests.kit.receiver import always
from tests.kit.shop import ONCE, Api, Shop, opened

# What changes nothing that a later call of the list needs stands first.
BY_ID: list[tuple[str, str, Any]] = [
    ("GET", "/v1/events/{event}", None),
    ("GET", "/v1/events/{event}?raw=1", None),
    ("POST", "/v1/events/{event}/replays", None),
    ("GET", "/v1/destinations/{destination}", None),
    ("PATCH", "/v1/destinations/{destination}", {"name": "mine now"}),
    ("POST", "/v1/destinations/{destination}/activation", None),
    ("DELETE", "/v1/destinations/{destination}/activation", None),
    ("GET", "/v1/destinations/{destination}/secret", None),
    ("POST", "/v1/destinations/{destination}/secret-rotations", {}),
    ("POST", "/v1/destinations/{destination}/tests", {}),
    ("POST", "/v1/destinations/{destination}/replays", {"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/v1/destinations/{destination}/stats", None),
    ("DELETE", "/v1/destinations/{destination}", None),
    ("GET", "/v1/deliveries/{delivery}", None),
    ("GET", "/v1/deliveries/{delivery}/attempts", None),
    ("POST", "/v1/deliveries/{delivery}/retries", None),
    ("POST", "/v1/deliveries/{delivery}/cancellation", None),
    ("GET", "/v1/sources/{source}", None),
    ("PATCH", "/v1/sources/{source}", {"name": "mine now"}),
    ("DELETE", "/v1/sources/{source}", None),
    ("GET", "/v1/event-types/order.created", None),
    ("DELETE", "/v1/event-types/order.created", None),
]
ADMINS = [
    ("POST", "/v1/tenants", {"id": "another", "name": "x"}),
    ("GET", "/v1/tenants", None),
    ("GET", "/v1/tenants/default", None),
    ("PATCH", "/v1/tenants/default", {"name": "x"}),
    ("DELETE", "/v1/tenants/default", None),
    ("POST", "/v1/keys", {"tenant": "default", "role": "admin"}),
    ("GET", "/v1/keys", None),
    ("DELETE", "/v1/keys/key_none", None),
]
OTHERS = [
    ("POST", "/v1/destinations", {"kind": "webhook", "name": "x", "events": ["*"], "config": {"url": "http://a.b/"}}),
    ("POST", "/v1/sources", {"kind": "stripe", "name": "x", "secrets": ["whsec_x"]}),
    ("PUT", "/v1/event-types/order.created", {}),
]
LISTS = [
    ("GET", "/v1/events", None),
    ("GET", "/v1/destinations", None),
    ("GET", "/v1/deliveries", None),
    ("GET", "/v1/sources", None),
    ("GET", "/v1/event-types", None),
    ("GET", "/v1/audit", None),
    ("GET", "/v1/source-kinds", None),
    ("GET", "/v1/destination-kinds", None),
]


async def _furnish(shop: Shop) -> dict[str, str]:
    """One of everything."""
    endpoint = await shop.subscribe(always(500), retry=ONCE)
    source = await shop.api.ask("POST", "/v1/sources", {"kind": "stripe", "name": "pay", "secrets": ["whsec_abc"]})
    await shop.api.ask("PUT", "/v1/event-types/order.created", {"description": "An order"})
    event = await shop.publish(id="order-1")
    delivery = await shop.finished(event["id"])
    return {
        "event": event["id"],
        "destination": endpoint.destination,
        "delivery": delivery["id"],
        "source": source["id"],
    }


async def _key(shop: Shop, role: str) -> Api:
    made = await shop.api.ask("POST", "/v1/keys", {"tenant": shop.tenant, "role": role})
    return Api(shop.api.client, made["key"])


async def test_every_route_that_takes_an_id_answers_another_tenant_404(node: Node, shop: Shop) -> None:
    ids = await _furnish(shop)
    async with opened(node) as neighbour:
        key = await _key(neighbour, "manager")
        for method, path, body in BY_ID:
            answer = await key.call(method, path.format(**ids), body)
            assert answer.status == 404, (method, path, answer)
            assert ids["destination"] not in answer.body.decode() or ids["destination"] in path.format(**ids)
        for _, path, _ in LISTS[:6]:
            assert await key.every(path) == [] or path == "/v1/audit"
        pinned = {"type": "order.created", "data": 1, "destination": ids["destination"]}
        assert (await key.call("POST", "/v1/events", pinned)).status == 422
        named = await key.call("GET", "/v1/events", orderwire_tenant=shop.tenant)
        assert named.status == 404
        published = await key.ask("POST", "/v1/events", {"type": "order.created", "data": {}, "id": "order-1"})
        assert (published["duplicate"], published["deliveries"]) == (False, 0)  # ids are each tenant's own
    shown = await shop.api.ask("GET", f"/v1/destinations/{ids['destination']}")
    assert (shown["name"], shown["state"]) == ("hook", "active")
    assert (await shop.delivery(ids["event"]))["attempt_count"] == 1
    manager = await _key(shop, "manager")
    for method, path, body in BY_ID:
        if "raw=1" in path:
            continue  # it was published, there is none
        answer = await manager.call(method, path.format(**ids), body)
        assert (
            answer.status in (200, 201, 202, 204)
            or (answer.status == 409 and path.endswith("cancellation"))
            or (
                answer.status == 409 and path.endswith("retries")  # its destination was deleted further up
            )
        ), (method, path, answer)


async def test_every_key_does_what_its_role_may_and_no_more(shop: Shop) -> None:
    ids = await _furnish(shop)
    publish = ("POST", "/v1/events", {"type": "order.created", "data": {}})
    batch = ("POST", "/v1/events/batch", {"events": [{"type": "order.created", "data": {}}]})
    reads = [row for row in BY_ID if row[0] == "GET" and not row[1].endswith(("raw=1", "secret"))] + LISTS
    writes = [row for row in BY_ID if row[0] != "GET"] + [("GET", "/v1/destinations/{destination}/secret", None)]
    publisher, reader, manager = [await _key(shop, role) for role in ("publisher", "reader", "manager")]
    for method, path, body in (*reads, *writes, *OTHERS, *ADMINS):
        answer = await publisher.call(method, path.format(**ids), body)
        assert answer.status == 403, (method, path, answer)
    for method, path, body in (*writes, *OTHERS, *ADMINS, publish, batch):
        answer = await reader.call(method, path.format(**ids), body)
        assert answer.status == 403, (method, path, answer)
    for method, path, body in reads:
        assert (await reader.call(method, path.format(**ids), body)).status == 200, path
    for method, path, body in ADMINS:
        assert (await manager.call(method, path, body)).status == 403, path
    for api in (publisher, manager):
        for method, path, body in (publish, batch):
            assert (await api.call(method, path, body)).status == 202


@pytest.mark.parametrize("proof", ["", "Bearer", "Bearer wrong", "Basic d3Jvbmc6a2V5", "Bearer ow_ü"])
async def test_nobody_we_know_gets_401_everywhere(shop: Shop, proof: str) -> None:
    routes = [*BY_ID, *ADMINS, *OTHERS, *LISTS, ("POST", "/v1/events", {}), ("GET", "/metrics", None)]
    for method, path, body in routes:
        answer = await shop.api.call(
            method, path.format(event=1, destination=1, delivery=1, source=1), body, authorization=proof
        )
        assert answer.status == 401, (method, path, answer)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await shop.api.call("GET", path, authorization=proof)).status == 200


async def test_a_deleted_key_is_unknown_at_once(shop: Shop) -> None:
    made = await shop.api.ask("POST", "/v1/keys", {"tenant": shop.tenant, "role": "reader"})
    key = Api(shop.api.client, made["key"])
    assert (await key.call("GET", "/v1/events")).status == 200
    await shop.api.ask("DELETE", f"/v1/keys/{made['id']}")
    assert (await key.call("GET", "/v1/events")).status == 401
