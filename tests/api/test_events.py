"""Reading events and deliveries, and sending again."""

from typing import Any

from orderwire.ids import new_id
from orderwire.signing import new_secret, signed_prefix, signer
from tests.api.node import Node, until
from tests.delivery.http_servers import OK, answering, serving


async def test_data_reads_digit_for_digit(node: Node) -> None:
    data = b'{"b": 9007199254740993, "a": 10.10, "list": [1e2]}'
    await node.publish("order.created", data, subject="order/1", id="mine-1")
    shown = await node.call("GET", "/v1/events/mine-1")
    assert data in shown.raw
    assert shown.json["id"] == "mine-1"
    assert shown.json["subject"] == "order/1"
    assert shown.json["deliveries"] == []
    listed = await node.call("GET", "/v1/events")
    assert data in listed.raw
    assert [one["id"] for one in listed.json["data"]] == ["mine-1"]


async def test_lists_go_on_by_cursor_newest_first(node: Node) -> None:
    ids = [await node.publish(f"order.n{n}", {}) for n in range(7)]
    seen, cursor = [], ""
    while True:
        page = (await node.call("GET", f"/v1/events?limit=3{cursor}")).json
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]


async def test_filters_of_the_list(node: Node) -> None:
    first = await node.publish("order.created", {"note": "needle"}, subject="order/1")
    second = await node.publish("order.paid.late", {}, subject="order/2")
    for query, expected in (
        ("type=order.*", [second, first]),
        ("type=order.created", [first]),
        ("subject=order/2", [second]),
        ("q=order/1", [first]),
        ("since=2000-01-01T00:00:00Z", [second, first]),
        ("until=2000-01-01T00:00:00Z", []),
        ("status=failed", []),
    ):
        page = await node.call("GET", f"/v1/events?{query}")
        assert [one["id"] for one in page.json["data"]] == expected, query
    assert "searched_until" in (await node.call("GET", "/v1/events?q=needle")).json


async def test_a_bad_query_is_refused_by_name(node: Node) -> None:
    for query, path in (
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("limit=x", "limit"),
        ("since=now", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("status=lost", "status"),
        ("colour=red", "colour"),
        ("type=Order", "type"),
        ("limit=1&limit=2", "limit"),
    ):
        refused = await node.call("GET", f"/v1/events?{query}")
        assert (refused.status, refused.paths) == (422, [path]), query
    for cursor in ("x", "!!", "bm90LWFuLWlk", ""):
        refused = await node.call("GET", f"/v1/events?cursor={cursor}")
        assert refused.status == 400, cursor
    refused = await node.call("GET", "/v1/destinations?colour=red")
    assert (refused.status, refused.paths) == (422, ["colour"])
    assert (await node.call("GET", f"/v1/events/{new_id('evt', 1)}?x=1")).paths == ["x"]
    assert (await node.call("GET", "/v1/source-kinds?cursor=bm8")).status == 400


async def test_the_original_bytes_of_a_source(node: Node) -> None:
    secret = new_secret("v1")
    source = await node.call("POST", "/v1/sources", {"kind": "standard", "name": "x", "secrets": [secret]})
    body = b'{"type":"order.created", "data":{"total" : 1.50}}'
    at = node.services.clock.now() // 1_000_000
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signer(secret).sign(signed_prefix("msg_1", at), body),
    }
    kept = await node.call("POST", source.json["ingest_path"], body, headers=headers)
    assert kept.status == 200, kept.raw
    (event,) = (await node.call("GET", f"/v1/events?source={source.json['id']}")).json["data"]
    assert event["trust"] == "verified"
    assert event["origin"]
    shown = await node.call("GET", f"/v1/events/{event['id']}?raw=1")
    assert shown.raw == body
    assert shown.headers["content-type"] == "application/octet-stream"
    assert shown.headers["content-security-policy"] == "sandbox"
    published = await node.publish("order.created", {})
    assert (await node.call("GET", f"/v1/events/{published}?raw=1")).status == 404
    assert (await node.call("GET", f"/v1/events/{event['id']}?raw=2")).paths == ["raw"]


async def test_a_delivery_and_its_attempts(node: Node) -> None:
    bad = b"HTTP/1.1 500 No\r\ncontent-length: 3\r\nx-a: 1\r\nx-a: 2\r\n\r\n\xff\x00!"
    async with serving(answering(bad)) as server:
        made = await node.destination(server.url)
        event = await node.publish("order.created", {})

        async def tried() -> Any:
            page = (await node.call("GET", f"/v1/deliveries?event={event}")).json
            return page["data"] if page["data"][0]["attempt_count"] else None

        (delivery,) = await until(tried)
        assert delivery["status"] == "retrying"
        assert delivery["destination"] == made["id"]
        assert delivery["next_attempt_at"] > delivery["created_at"]
        path = f"/v1/deliveries/{delivery['id']}"
        assert (await node.call("GET", path)).json == delivery
        (attempt,) = (await node.call("GET", f"{path}/attempts")).json["data"]
        assert (attempt["outcome"], attempt["status_code"], attempt["number"]) == ("rejected", 500, 1)
        assert attempt["response_body"] == "\ufffd\x00!"
        assert attempt["response_headers"]["x-a"] == "1, 2"

        assert (await node.call("POST", f"{path}/retries")).status == 202

        async def again() -> bool:
            return len((await node.call("GET", f"{path}/attempts")).json["data"]) == 2

        await until(again)
        page = (await node.call("GET", f"{path}/attempts?limit=1")).json
        rest = (await node.call("GET", f"{path}/attempts?limit=1&cursor={page['next_cursor']}")).json
        assert [page["data"][0]["number"], rest["data"][0]["number"]] == [2, 1]
        assert (await node.call("GET", path)).json["next_attempt_at"] == delivery["next_attempt_at"]
    cancelled = await node.call("POST", f"{path}/cancellation")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    assert (await node.call("POST", f"{path}/cancellation")).status == 200


async def test_a_delivered_one_is_not_cancelled(node: Node) -> None:
    async with serving(answering(OK)) as server:
        await node.destination(server.url)
        event = await node.publish("order.created", {})

        async def delivered() -> Any:
            return (await node.call("GET", f"/v1/deliveries?status=delivered&event={event}")).json["data"]

        (delivery,) = await until(delivered)
    refused = await node.call("POST", f"/v1/deliveries/{delivery['id']}/cancellation")
    assert refused.status == 409


async def test_a_replay_goes_to_those_who_want_it_or_to_the_one_named(node: Node) -> None:
    first = await node.paused()
    await node.paused(filter={"data.total": {"$gt": 100}})
    other = await node.paused(events=["customer.*"])
    event = await node.publish("order.created", {"total": 5})
    replayed = await node.call("POST", f"/v1/events/{event}/replays")
    assert (replayed.status, replayed.json) == (202, {"id": event, "count": 1})
    replayed = await node.call("POST", f"/v1/events/{event}/replays", {"destination": other["id"]})
    assert replayed.json["count"] == 1
    shown = (await node.call("GET", f"/v1/events/{event}")).json["deliveries"]
    assert [one["destination"] for one in shown] == [other["id"], first["id"], first["id"]]
    refused = await node.call("POST", f"/v1/events/{event}/replays", {"destination": "dst_none"})
    assert (refused.status, refused.paths) == (422, ["destination"])
    assert (await node.call("POST", "/v1/events/nobody/replays")).status == 404
