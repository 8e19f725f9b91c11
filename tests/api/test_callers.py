"""Keys, roles, tenants: who may what, and that nobody sees another's."""

import asyncio
from pathlib import Path

from orderwire.api.openapi import Document
from orderwire.api.route import PUBLIC
from orderwire.clock import ManualClock
from orderwire.model import Role
from orderwire.service.callers import PERMISSIONS
from tests.api.node import Node, running_node, until


async def test_without_a_valid_key_nothing_is_told(node: Node) -> None:
    for headers in ({"authorization": ""}, {"authorization": "Bearer ow_wrong"}, {"authorization": "Basic eDp5"}):
        refused = await node.call("GET", "/v1/destinations", headers=headers)
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    refused = await node.call("POST", "/v1/destinations", b"{", headers={"authorization": "Bearer ow_wrong"})
    assert refused.status == 401


async def test_each_role_has_its_verbs(node: Node) -> None:
    await node.destination()
    for role, read, write, administer in (
        ("reader", 200, 403, 403),
        ("publisher", 403, 403, 403),
        ("manager", 200, 422, 403),
        ("admin", 200, 422, 200),
    ):
        key = await node.make_key(role)
        assert (await node.call("GET", "/v1/destinations", key=key)).status == read, role
        assert (await node.call("POST", "/v1/destinations", {}, key=key)).status == write, role
        assert (await node.call("GET", "/v1/tenants", key=key)).status == administer, role


async def test_secrets_are_for_managers(node: Node) -> None:
    made = await node.destination()
    path = f"/v1/destinations/{made['id']}/secret"
    assert (await node.call("GET", path, key=await node.make_key("reader"))).status == 403
    assert (await node.call("GET", path, key=await node.make_key("manager"))).status == 200


async def test_another_tenants_things_are_not_there(node: Node) -> None:
    assert (await node.call("POST", "/v1/tenants", {"id": "shop-b", "name": "Shop B"})).status == 201
    made = await node.paused()
    event = await node.publish("order.created", {})
    delivery = (await node.call("GET", "/v1/deliveries")).json["data"][0]
    await node.call("PUT", "/v1/event-types/order.created", {"description": "ours"})
    foreign = await node.make_key("manager", "shop-b")
    for method, path in (
        ("GET", f"/v1/destinations/{made['id']}"),
        ("PATCH", f"/v1/destinations/{made['id']}"),
        ("DELETE", f"/v1/destinations/{made['id']}"),
        ("POST", f"/v1/destinations/{made['id']}/activation"),
        ("GET", f"/v1/destinations/{made['id']}/secret"),
        ("POST", f"/v1/destinations/{made['id']}/tests"),
        ("GET", f"/v1/destinations/{made['id']}/stats"),
        ("POST", f"/v1/destinations/{made['id']}/secret-rotations"),
        ("GET", f"/v1/events/{event}"),
        ("POST", f"/v1/events/{event}/replays"),
        ("GET", f"/v1/deliveries/{delivery['id']}"),
        ("GET", f"/v1/deliveries/{delivery['id']}/attempts"),
        ("POST", f"/v1/deliveries/{delivery['id']}/retries"),
        ("POST", f"/v1/deliveries/{delivery['id']}/cancellation"),
        ("GET", "/v1/event-types/order.created"),
        ("DELETE", "/v1/event-types/order.created"),
    ):
        body: object = {} if method == "PATCH" else None
        assert (await node.call(method, path, body, key=foreign)).status == 404, (method, path)
    for path in ("destinations", "events", "deliveries", "event-types", "audit"):
        assert (await node.call("GET", f"/v1/{path}", key=foreign)).json["data"] == [], path
    assert (await node.call("GET", f"/v1/deliveries?destination={made['id']}", key=foreign)).json["data"] == []


async def test_the_tenant_header(node: Node) -> None:
    await node.call("POST", "/v1/tenants", {"id": "shop-b", "name": "Shop B"})
    foreign = await node.make_key("manager", "shop-b")
    named = {"orderwire-tenant": "shop-b"}
    made = await node.call(
        "POST",
        "/v1/destinations",
        {"kind": "webhook", "name": "x", "events": ["*"], "config": {"url": "https://example.com"}},
        headers=named,
    )
    assert (await node.call("GET", f"/v1/destinations/{made.json['id']}", key=foreign)).status == 200
    assert (await node.call("GET", "/v1/destinations", key=foreign, headers=named)).status == 200
    for key, tenant in ((node.key, "nobody"), (foreign, "default"), (foreign, "nobody")):
        refused = await node.call("GET", "/v1/destinations", key=key, headers={"orderwire-tenant": tenant})
        assert refused.status == 404


async def test_a_key_is_shown_once_and_dies_when_deleted(node: Node) -> None:
    made = (await node.call("POST", "/v1/keys", {"tenant": "default", "role": "reader", "name": "bob"})).json
    assert made["key"].startswith("ow_")
    assert len(made["key"]) == 3 + 43
    listed = (await node.call("GET", "/v1/keys")).json["data"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert "key" not in listed[0]
    assert (await node.call("GET", "/v1/events", key=made["key"])).status == 200
    assert (await node.call("DELETE", f"/v1/keys/{made['id']}")).status == 204
    assert (await node.call("GET", "/v1/events", key=made["key"])).status == 401
    assert (await node.call("DELETE", f"/v1/keys/{made['id']}")).status == 404
    assert (await node.call("POST", "/v1/keys", {"tenant": "nobody", "role": "reader"})).paths == ["tenant"]
    assert (await node.call("POST", "/v1/keys", {"tenant": "default", "role": "browser"})).paths == ["origins"]


async def test_a_tenants_life(node: Node) -> None:
    made = await node.call("POST", "/v1/tenants", {"id": "shop-b", "name": "B", "retention_days": 7})
    assert made.json["retention_days"] == 7
    assert (await node.call("POST", "/v1/tenants", {"id": "shop-b", "name": "again"})).status == 409
    changed = await node.call("PATCH", "/v1/tenants/shop-b", {"retention_days": None})
    assert changed.json["retention_days"] is None
    assert (await node.call("PATCH", "/v1/tenants/shop-b", {"retention_days": 6})).paths == ["retention_days"]
    assert [t["id"] for t in (await node.call("GET", "/v1/tenants")).json["data"]] == ["shop-b", "default"]
    named = {"orderwire-tenant": "shop-b"}
    body = {"kind": "webhook", "name": "x", "events": ["*"], "config": {"url": "https://example.com"}}
    destination = (await node.call("POST", "/v1/destinations", body, headers=named)).json
    key = await node.make_key("manager", "shop-b")
    event = await node.publish("order.created", {}, tenant="shop-b")
    assert (await node.call("DELETE", "/v1/tenants/shop-b")).status == 409
    assert (await node.call("DELETE", f"/v1/destinations/{destination['id']}", key=key)).status == 204
    assert (await node.call("DELETE", "/v1/tenants/shop-b")).status == 204
    assert (await node.call("GET", "/v1/events", key=key)).status == 401
    await node.services.background.idle()
    assert await node.inner.store.get_event("shop-b", event) is None
    assert (await node.call("DELETE", "/v1/tenants/default")).status == 409


async def test_rates_are_bounded_per_key(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_node(tmp_path, clock=clock, key_requests_per_s_max=3.0) as node:
        statuses = [(await node.call("GET", "/v1/events")).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await node.call("GET", "/v1/events")
        assert refused.headers["retry-after"] == "1"
        clock.advance(1)
        assert (await node.call("GET", "/v1/events")).status == 200


async def test_metrics_are_for_any_key_but_a_browsers_or_for_the_token(node: Node) -> None:
    assert (await node.call("GET", "/metrics", key="metrics-token")).status == 200
    assert (await node.call("GET", "/v1/events", key="metrics-token")).status == 401
    assert (await node.call("GET", "/metrics", key=await node.make_key("publisher"))).status == 200
    made = {"tenant": "default", "role": "browser", "origins": ["https://shop.example"]}
    browser = (await node.call("POST", "/v1/keys", made)).json["key"]
    assert (await node.call("GET", "/metrics", key=browser)).status == 403
    assert (await node.call("GET", "/metrics", headers={"authorization": ""})).status == 401


async def test_every_route_asks_a_verb_that_somebody_has(node: Node) -> None:
    document: Document = (await node.call("GET", "/openapi.json")).json
    everything = PERMISSIONS[Role.ADMIN]
    named = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    verbs = {verb.replace(".", "_") for verb in everything | PUBLIC}
    assert named - verbs <= {"event_publish_batch", "receive_get", "receive_post"}


async def test_live_streams_are_bounded(tmp_path: Path) -> None:
    async with running_node(tmp_path, live_streams_max=2) as node:
        await _watch_and_count(node, 2)


async def _watch_and_count(node: Node, streams: int) -> None:
    async def open_stream() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        head = f"GET /v1/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {node.key}\r\n\r\n"
        writer.write(head.encode())
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert b": watching" in await reader.readuntil(b"\n\n")
        return reader, writer

    opened = [await open_stream() for _ in range(streams)]
    refused = await node.call("GET", "/v1/live")
    assert refused.status == 429
    assert "retry-after" in refused.headers
    event = await node.publish("order.created", b'{"total":10.10}')
    told = await opened[0][0].readuntil(b"\n\n")
    assert b"event: event\n" in told
    assert f'data: {{"id":"{event}","type":"order.created"'.encode() in told
    assert b'"data":{"total":10.10}' in told
    opened.pop()[1].close()

    async def there_is_room() -> bool:
        return len(node.services.live._watchers) < streams

    await until(there_is_room)
    opened.append(await open_stream())
    for _, writer in opened:
        writer.close()
