"""What is published once is kept once, whole, and arrives byte for byte."""

import asyncio
import base64
import re
from datetime import datetime, timedelta

import pytest

from tests.kit.receiver import always
from tests.kit.shop import NEVER_AGAIN, Shop, came, quiet

AT_ONCE = 50


async def test_the_same_id_fifty_times_at_once_is_one_delivery(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    body = {"type": "order.created", "id": "order-1001", "subject": "order/1001", "data": {"total": 1}}
    answers = await asyncio.gather(*(shop.api.ask("POST", "/v1/events", body) for _ in range(AT_ONCE)))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * (AT_ONCE - 1)
    assert {answer["id"] for answer in answers} == {"order-1001"}
    assert len({(answer["time"], answer["received_at"], answer["deliveries"]) for answer in answers}) == 1
    await shop.settled()
    await quiet(endpoint, 0.2)
    assert endpoint.ids == ["order-1001"]
    assert len(await shop.api.every("/v1/events")) == 1
    assert len(await shop.api.every("/v1/deliveries")) == 1


async def test_the_same_idempotency_key_fifty_times_at_once_is_one_event(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    body = {"type": "order.created", "data": {"total": 1}}
    calls = (shop.api.ask("POST", "/v1/events", body, idempotency_key="k/1 ü") for _ in range(AT_ONCE))
    answers = await asyncio.gather(*calls)
    assert sum(not answer["duplicate"] for answer in answers) == 1
    assert len({answer["id"] for answer in answers}) == 1
    await came(endpoint, 1)
    assert len(endpoint.webhooks) == 1
    other = await shop.api.call("POST", "/v1/events", body | {"data": {"total": 2}}, idempotency_key="k/1 ü")
    assert other.status == 409


@pytest.mark.parametrize(
    "change",
    [{"type": "order.paid"}, {"subject": "order/2"}, {"data": {"total": 1.0}}, {"time": "2026-01-01T00:00:00Z"}],
)
async def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(
    shop: Shop, change: dict[str, object]
) -> None:
    body = {"type": "order.created", "id": "a", "subject": "order/1", "data": {"total": 1}}
    first = await shop.api.ask("POST", "/v1/events", body)
    answer = await shop.api.call("POST", "/v1/events", body | change)
    assert answer.status == 409
    assert answer.paths == ["id"]
    (kept,) = await shop.api.every("/v1/events")
    assert (kept["type"], kept["data"], kept["received_at"]) == ("order.created", {"total": 1}, first["received_at"])


async def test_races_of_different_contents_under_one_id_have_one_winner(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    bodies = [{"type": "order.created", "id": "raced", "data": {"n": n % 5}} for n in range(AT_ONCE)]
    answers = await asyncio.gather(*(shop.api.call("POST", "/v1/events", body) for body in bodies))
    winners = [body for body, answer in zip(bodies, answers, strict=True) if answer.status == 202]
    assert {answer.status for answer in answers} == {202, 409}
    assert len(winners) == AT_ONCE // 5
    assert len({str(body) for body in winners}) == 1
    await came(endpoint, 1)
    await shop.settled()
    assert [webhook.data for webhook in endpoint.webhooks] == [winners[0]["data"]]


async def test_a_batch_is_kept_whole_or_not_at_all(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    good = [{"type": "order.created", "data": n} for n in range(10)]
    await shop.publish(id="taken", data="first")
    for bad, status, path in (
        ({"type": "Order.Created", "data": 1}, 422, "events[10].type"),
        ({"type": "order.created"}, 422, "events[10].data"),
        ({"type": "orderwire.mine", "data": 1}, 422, "events[10].type"),
        ({"type": "order.created", "data": 1, "extra": 1}, 422, "events[10].extra"),
        ({"type": "order.created", "data": 1, "destination": "dst_nowhere"}, 422, "events[10].destination"),
        ({"type": "order.created", "data": "second", "id": "taken"}, 409, "events[10].id"),
        ({"type": "order.created", "data": "x" * 262_143}, 413, "events[10].data"),
    ):
        answer = await shop.api.call("POST", "/v1/events/batch", {"events": [*good, bad]})
        assert answer.status == status, answer
        assert answer.paths == [path]
    assert len(await shop.api.every("/v1/events")) == 1
    ids = await shop.publish_all(good)
    await came(endpoint, 1 + len(good))
    assert set(endpoint.ids) == {"taken", *ids}


async def test_a_batch_that_repeats_itself_or_others_says_so_event_by_event(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    one = {"type": "order.created", "data": 1, "id": "one"}
    answer = await shop.api.ask("POST", "/v1/events/batch", {"events": [one, {**one, "id": "two"}, one]})
    assert [row["duplicate"] for row in answer["data"]] == [False, False, True]
    again = await shop.api.ask("POST", "/v1/events/batch", {"events": [one, {**one, "id": "three"}]})
    assert [(row["id"], row["duplicate"]) for row in again["data"]] == [("one", True), ("three", False)]
    await shop.settled()
    assert sorted(endpoint.ids) == ["one", "three", "two"]


async def test_data_arrives_byte_for_byte(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    texts = [
        b'{"big": 1152921504606846977, "price": 10.10, "e": 1E+2, "z": -0, "long": 0.10000000000000000555111512312}',
        b'{"z":1,"a":2,"m":{"b":1,"a":[ ]}}',
        '{"escaped": "\\u00e4\\ud83d\\ude00\\u0000\\/", "raw": "ä😀 \x7f"}'.encode(),
        b'{ "spaces" :\t[ 1 ,\r\n 2 ] }',
        b'"just text"',
        b"null",
    ]
    for text in texts:
        answer = await shop.api.ask("POST", "/v1/events", b'{"type":"order.created","data":' + text + b"}")
        await came(endpoint, texts.index(text) + 1)
        body = endpoint.webhooks[-1].body
        head, data = body.split(b',"data":', 1)
        assert data == text + b"}"
        assert head.startswith(b'{"id":"%b","type":"order.created","timestamp":"' % answer["id"].encode())
        shown = await shop.api.call("GET", f"/v1/events/{answer['id']}")
        assert text in shown.body


async def test_what_a_webhook_says_of_itself_is_what_the_contract_promises(shop: Shop) -> None:
    endpoint = await shop.subscribe(config={"headers": {"x-shop": "Zoë's".encode("ascii", "replace").decode()}})
    time = "2026-11-23T20:01:18.123456Z"
    event = await shop.publish("order.paid", {"total": 1}, subject='order/"1001" ü', time=time)
    await came(endpoint, 1)
    (webhook,) = endpoint.webhooks
    assert webhook.signed_by == (endpoint.secrets[0],)
    assert webhook.headers["content-type"] == "application/json"
    assert re.fullmatch(r"Orderwire/[0-9.]+\S*", webhook.headers["user-agent"])
    assert webhook.headers["webhook-id"] == event["id"]
    assert webhook.headers["x-shop"] == "Zo?'s"
    assert abs(int(webhook.headers["webhook-timestamp"]) - datetime.now().astimezone().timestamp()) < 60
    assert list(webhook.json) == ["id", "type", "timestamp", "subject", "data"]
    assert webhook.json["subject"] == 'order/"1001" ü'
    said = datetime.fromisoformat(webhook.json["timestamp"])
    assert abs(said - datetime.fromisoformat(time)) < timedelta(milliseconds=1)


async def test_an_event_that_nobody_wants_is_kept_and_shown(shop: Shop) -> None:
    answer = await shop.publish("nobody.asked", subject="x/1")
    assert answer["deliveries"] == 0
    shown = await shop.api.ask("GET", f"/v1/events/{answer['id']}")
    assert (shown["type"], shown["subject"], shown["deliveries"]) == ("nobody.asked", "x/1", [])


async def test_a_strict_type_refuses_what_breaks_its_schema(shop: Shop) -> None:
    schema = {"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}}
    await shop.api.ask("PUT", "/v1/event-types/order.created", {"schema": schema, "strict": True})
    refused = await shop.api.call("POST", "/v1/events", {"type": "order.created", "data": {"total": "1"}})
    assert refused.status == 422
    assert refused.paths[0].startswith("data")
    batch = {"events": [{"type": "order.created", "data": {"total": 1}}, {"type": "order.created", "data": {}}]}
    refused = await shop.api.call("POST", "/v1/events/batch", batch)
    assert refused.status == 422
    assert refused.paths[0].startswith("events[1].data")
    assert not await shop.api.every("/v1/events")
    await shop.publish(data={"total": 1})
    for remote in ("https://example.com/schema.json", "file:///etc/passwd"):
        asked = await shop.api.call("PUT", "/v1/event-types/order.paid", {"schema": {"$ref": remote}, "strict": True})
        assert asked.status == 422, asked


async def test_lists_page_through_everything_once(shop: Shop) -> None:
    await shop.subscribe(always(500), retry=NEVER_AGAIN)
    ids = await shop.publish_all({"type": f"order.t{n % 3}", "subject": f"s/{n % 7}", "data": n} for n in range(600))
    events = await shop.api.every("/v1/events")
    assert [event["id"] for event in events] == ids[::-1]
    assert [e["id"] for e in await shop.api.every("/v1/events", type="order.t1")] == ids[1::3][::-1]
    assert [e["id"] for e in await shop.api.every("/v1/events", type="order.*")] == ids[::-1]
    assert [e["id"] for e in await shop.api.every("/v1/events", subject="s/2")] == ids[2::7][::-1]
    deliveries = await shop.api.every("/v1/deliveries")
    assert sorted(delivery["event"] for delivery in deliveries) == sorted(ids)
    middle = events[300]["received_at"]
    since = await shop.api.every("/v1/events", since=middle)
    until = await shop.api.every("/v1/events", until=middle)
    assert len(since) + len(until) == len(ids)


async def test_an_asymmetric_destination_signs_with_its_key(shop: Shop) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    endpoint = await shop.subscribe(config={"signing": "v1a"})
    (public,) = endpoint.secrets
    endpoint.secrets = []  # the oracle package knows no v1a
    assert public.startswith("whpk_")
    await shop.publish()
    await came(endpoint, 1)
    (webhook,) = endpoint.webhooks
    scheme, signature = webhook.headers["webhook-signature"].split(",")
    assert scheme == "v1a"
    signed = f"{webhook.id}.{webhook.headers['webhook-timestamp']}.".encode() + webhook.body
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), signed)
