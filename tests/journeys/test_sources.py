"""Providers' webhooks at `/in/…`: believed only where they prove themselves, kept once, and byte for byte."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from orderwire.clock import SECOND
from orderwire.sources import KINDS
from tests.kit.http import Answer
from tests.kit.receiver import Endpoint
from tests.kit.shop import Shop, came, quiet

AT_ONCE = 50
SECRETS = {
    "shopify": "a-client-secret",
    "stripe": "whsec_made_up_for_tests",
    "standard": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
# Spaces, escapes, key order and digits that no re-encoding would keep.
BODIES = {
    "shopify": b'{ "id": 820982911946154508, "total_price": "10.10",  "note": "Zo\\u00eb \\ud83d\\ude00",'
    b' "currency": "EUR", "created_at": "2026-11-23T20:01:18+01:00", "line_items": [ ] }',
    "stripe": b'{"id": "evt_1Made", "object": "event", "type": "payment_intent.succeeded", "created": 1795464078,\n'
    b' "data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 1010, "currency": "eur"}}}',
    "standard": b'{"type": "order.created", "timestamp": "2026-11-23T20:01:18Z", "subject": "order/1",'
    b' "data": {"z": 1152921504606846977, "a": 10.10, "s": "\\u00e4"}}',
}
TYPES = {"shopify": "order.created", "stripe": "payment.succeeded", "standard": "order.created"}
TOPICS = {"shopify": "orders/create", "stripe": "", "standard": ""}
# Another event of the same provider: another body where the body names it.
OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "shopify": lambda body: body.replace(b"820982911946154508", b"820982911946154509"),
    "stripe": lambda body: body.replace(b"evt_1Made", b"evt_2Made"),
    "standard": lambda body: body,
}


@dataclass
class Provider:
    """Plays one, with its true signature."""

    kind: str
    shop: Shop
    source: dict[str, Any]
    endpoint: Endpoint

    def sign(
        self, body: bytes, message_id: str = "msg_1", *, secret: str = "", at: float | None = None
    ) -> dict[str, str]:
        now_us = round((time.time() if at is None else at) * SECOND)
        topic, secret = TOPICS[self.kind], secret or SECRETS[self.kind]
        return KINDS[self.kind].sign(secret, body, now_us, topic=topic, message_id=message_id)

    async def send(self, body: bytes, headers: dict[str, str]) -> Answer:
        return await self.shop.api.client.request("POST", self.source["ingest_path"], headers, body)


@pytest.fixture(params=list(SECRETS))
async def provider(request: pytest.FixtureRequest, shop: Shop) -> Provider:
    kind = request.param
    spec = {"kind": kind, "name": kind, "secrets": [SECRETS[kind]]}
    source = await shop.api.ask("POST", "/v1/sources", spec)
    return Provider(kind, shop, source, await shop.subscribe())


async def test_a_true_webhook_is_kept_normalised_delivered_and_reachable_byte_for_byte(provider: Provider) -> None:
    body = BODIES[provider.kind]
    answer = await provider.send(body, provider.sign(body))
    assert answer.status == 200, answer
    await came(provider.endpoint, 1)
    (webhook,) = provider.endpoint.webhooks
    assert webhook.json["type"] == TYPES[provider.kind]
    (event,) = await provider.shop.api.every("/v1/events", source=provider.source["id"])
    assert event["id"] == webhook.id
    assert event["trust"] == "verified"
    assert event["origin"]["provider"] == provider.kind
    raw = await provider.shop.api.call("GET", f"/v1/events/{event['id']}?raw=1")
    assert raw.body == body
    if provider.kind == "standard":
        data = b'{"z": 1152921504606846977, "a": 10.10, "s": "\\u00e4"}'
        assert webhook.body.endswith(b',"data":' + data + b"}")


async def test_fifty_of_the_same_at_once_are_one_event(provider: Provider) -> None:
    body = BODIES[provider.kind]
    headers = provider.sign(body)
    answers = await asyncio.gather(*(provider.send(body, headers) for _ in range(AT_ONCE)))
    assert {answer.status for answer in answers} == {200}
    await came(provider.endpoint, 1)
    await quiet(provider.endpoint, 0.2)
    assert len(provider.endpoint.webhooks) == 1
    assert len(await provider.shop.api.every("/v1/events")) == 1


async def test_a_repeat_signed_anew_is_dropped_and_another_is_not(provider: Provider) -> None:
    body = BODIES[provider.kind]
    other = OTHERS[provider.kind](body)
    for sent, message_id, at in ((body, "msg_1", 0), (body, "msg_1", -5), (other, "msg_2", 0), (other, "msg_2", -9)):
        answer = await provider.send(sent, provider.sign(sent, message_id, at=time.time() + at))
        assert answer.status == 200, answer
    await came(provider.endpoint, 2)
    await quiet(provider.endpoint, 0.2)
    assert len(provider.endpoint.webhooks) == 2
    assert len(await provider.shop.api.every("/v1/events")) == 2


async def test_a_forged_one_is_401_without_telling_why_and_leaves_no_trace(provider: Provider) -> None:
    body = BODIES[provider.kind]
    good = provider.sign(body)
    wrong_key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWU="
    signature = next(name for name in good if "signature" in name or "hmac" in name)
    forged: list[tuple[bytes, dict[str, str]]] = [
        (body + b" ", good),
        (body.replace(b"10", b"99"), good),
        (b"", good),
        (body, provider.sign(body, secret=wrong_key)),
        (body, {name: value for name, value in good.items() if name != signature}),
        (body, good | {signature: good[signature][:-4]}),
        (body, good | {signature: "v1,AAAA" if provider.kind == "standard" else "AAAA"}),
        (body, good | {signature: "\xff\xfe"}),
    ]
    if provider.kind != "shopify":  # it signs no time
        forged += [
            (body, provider.sign(body, at=time.time() - 3600)),
            (body, provider.sign(body, at=time.time() + 3600)),
        ]
    answers = [await provider.send(*attempt) for attempt in forged]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1  # one answer, whatever was wrong
    assert b"secret" not in answers[0].body
    assert await provider.shop.api.every("/v1/events") == []
    assert (await provider.send(body, good)).status == 200


async def test_either_of_two_live_secrets_proves_and_a_removed_one_does_not(provider: Provider) -> None:
    body, kind = BODIES[provider.kind], provider.kind
    new = {"shopify": "the-next-secret", "stripe": "whsec_next"}.get(kind, "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY")
    path = f"/v1/sources/{provider.source['id']}"
    await provider.shop.api.ask("PATCH", path, {"secrets": [new, "***"]})
    assert (await provider.send(body, provider.sign(body, secret=new))).status == 200
    assert (await provider.send(body, provider.sign(body))).status == 200
    await provider.shop.api.ask("PATCH", path, {"secrets": ["***"]})  # the first stored one: `new`
    assert (await provider.send(body, provider.sign(body))).status == 401
    assert (await provider.send(body, provider.sign(body, secret=new))).status == 200
    shown = await provider.shop.api.call("GET", path)
    assert shown.json["secrets"] == ["***"]
    assert new.encode() not in shown.body


async def test_a_proven_body_that_is_no_json_is_refused_and_compressed_ones_are_not_taken(provider: Provider) -> None:
    for body in (b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000):
        answer = await provider.send(body, provider.sign(body))
        assert answer.status == 400, (body[:10], answer)
    body = BODIES[provider.kind]
    assert (await provider.send(body, provider.sign(body) | {"content-encoding": "gzip"})).status == 415
    assert await provider.shop.api.every("/v1/events") == []


async def test_a_node_takes_another_nodes_webhooks_as_a_source(shop: Shop) -> None:
    """What Orderwire sends is Standard Webhooks: a chain of two, and nothing is sent twice."""
    last = await shop.subscribe(events=["relayed.*"])
    source = await shop.api.ask(
        "POST", "/v1/sources", {"kind": "standard", "name": "first", "secrets": [SECRETS["standard"]]}
    )
    made = await shop.destination(f"http://127.0.0.1:{shop.node.port}{source['ingest_path']}", events=["relayed.*"])
    path = f"/v1/destinations/{made['id']}"
    await shop.api.ask("POST", f"{path}/secret-rotations", {"secret": SECRETS["standard"], "grace_s": 0})
    await shop.api.ask("PATCH", path, {"filter": {"source": None}})  # not what came by a source, or it would go round
    event = await shop.publish("relayed.one", {"big": 1152921504606846977}, subject="order/1")
    await came(last, 2)
    await quiet(last, 0.3)
    assert [webhook.body.partition(b',"data":')[2] for webhook in last.webhooks] == [
        b'{"big": 1152921504606846977}}'
    ] * 2
    assert [webhook.subject for webhook in last.webhooks] == ["order/1"] * 2
    assert last.ids[0] == event["id"]
    (relayed,) = await shop.api.every("/v1/events", source=source["id"])
    assert json.dumps(relayed["origin"]).count(event["id"]) == 1


async def test_a_source_that_is_gone_or_never_was_is_404(shop: Shop) -> None:
    source = await shop.api.ask("POST", "/v1/sources", {"kind": "stripe", "name": "x", "secrets": ["whsec_abc"]})
    await shop.api.ask("DELETE", f"/v1/sources/{source['id']}")
    for path in (source["ingest_path"], "/in/src_none", "/in/", "/in/a/b", "/in/%2e%2e"):
        answer = await shop.api.client.request("POST", path, {}, b"{}")
        assert answer.status == 404, (path, answer)
