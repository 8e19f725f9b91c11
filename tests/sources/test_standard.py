"""Standard Webhooks: proof by secret and by public key, held to the reference library; bodies taken over."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks

from orderwire import signing
from orderwire.clock import SECOND, to_rfc3339
from orderwire.errors import Invalid
from orderwire.sources import KINDS
from orderwire.sources.base import BadSignature
from tests.sources.playing import NOW, SECRETS, a_request, a_source, data_of, flips, origin_of, take, told, vectors

KIND = KINDS["standard"]
PRIVATE = signing.new_secret("v1a")
PUBLIC = signing.public_part(PRIVATE)
BODY = (
    b'{"id":"evt_9","type":"order.created","timestamp":"2026-11-23T19:00:00Z",'
    b'"subject":"order/9","data":{"id":9, "total":10.10}}'
)


def headers_for(secret: str, body: bytes, at: int = NOW, message_id: str = "msg_1") -> dict[str, str]:
    return KIND.sign(secret, body, at, message_id=message_id)


def test_what_orderwire_sends_comes_in_as_it_was() -> None:
    event = told("standard", BODY)
    assert (event.type, event.subject, event.data) == ("order.created", "order/9", b'{"id":9, "total":10.10}')
    assert to_rfc3339(event.time_at) == "2026-11-23T19:00:00.000000Z"
    assert origin_of(event) == {"provider": "standard", "topic": "order.created", "webhook_id": "msg_1"}
    assert [(key.scope, key.key) for key in event.keys] == [("source:src_1:webhook_id", "msg_1")]
    assert event.raw is not None
    assert event.raw.body == BODY


TYPES = {
    "ours": ("order.created", "order.created"),
    "not in the catalogue": ("parcel.lost_2", "parcel.lost_2"),
    "camel case": ("OrderCreated", "standard.order_created"),
    "dashes and slashes": ("order/line-items.Paid", "standard.order_line_items.paid"),
    "operational": ("orderwire.delivery.failed", "standard.orderwire.delivery.failed"),
    "empty": ("", "standard.unknown_topic"),
    "nothing of ours in it": ("Заказ", "standard.unknown_topic"),
    "no text": (7, "standard.unknown_topic"),
    "too long": ("a" * 129, "standard." + "a" * 119),
    "dots alone": ("...", "standard.unknown_topic"),
}


@pytest.mark.parametrize(("sent", "event_type"), TYPES.values(), ids=TYPES.keys())
def test_a_foreign_type_keeps_to_our_pattern(sent: Any, event_type: str) -> None:
    event = told("standard", {"type": sent, "data": {"a": 1}})
    assert (event.type, data_of(event)) == (event_type, {"a": 1})


BODIES = {
    "no type": (b'{"test": 2432232314}', "standard.unknown_topic", b'{"test": 2432232314}'),
    "a list": (b" [1, 2]\n", "standard.unknown_topic", b"[1, 2]"),
    "no data": (b'{"type":"ping"}', "ping", b'{"type":"ping"}'),
    "null data": (b'{"type":"ping","data":null}', "ping", b"null"),
}


@pytest.mark.parametrize(("body", "event_type", "data"), BODIES.values(), ids=BODIES.keys())
def test_other_bodies_are_kept_whole(body: bytes, event_type: str, data: bytes) -> None:
    event = told("standard", body)
    assert (event.type, event.data) == (event_type, data)


@pytest.mark.parametrize(
    "field", [{"subject": ""}, {"subject": "a\x00b"}, {"subject": "s" * 257}, {"subject": 7}, {"timestamp": "soon"}]
)
def test_an_odd_subject_or_time_is_left_out(field: dict[str, Any]) -> None:
    event = told("standard", {"type": "a.b", "data": 1} | field)
    assert (event.type, event.subject, event.time_at) == ("a.b", None, NOW)


def test_the_reference_library_takes_what_we_sign_and_we_what_it_signs() -> None:
    # the library asks the machine's clock, so both sides use it here
    at = datetime.now(UTC)
    now = round(at.timestamp()) * SECOND
    oracle = standardwebhooks.Webhook(SECRETS["standard"])
    assert oracle.verify(BODY, headers_for(SECRETS["standard"], BODY, now)) == json.loads(BODY)
    theirs = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now // SECOND),
        "webhook-signature": oracle.sign("msg_1", datetime.fromtimestamp(now // SECOND, UTC), BODY.decode()),
    }
    assert take(a_source("standard"), a_request(BODY, theirs), now).type == "order.created"


@pytest.mark.parametrize(("signs", "holds"), [(SECRETS["standard"], SECRETS["standard"]), (PRIVATE, PUBLIC)])
@pytest.mark.parametrize(("off_s", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_stale_and_future_are_refused(signs: str, holds: str, off_s: int, taken: bool) -> None:
    request = a_request(BODY, headers_for(signs, BODY, NOW + off_s * SECOND))
    if taken:
        take(a_source("standard", holds), request)
        return
    with pytest.raises(BadSignature):
        take(a_source("standard", holds), request)


def test_secrets_and_keys_live_side_by_side() -> None:
    source = a_source("standard", PUBLIC, SECRETS["standard"])
    take(source, a_request(BODY, headers_for(SECRETS["standard"], BODY)))
    take(source, a_request(BODY, headers_for(PRIVATE, BODY)))
    with pytest.raises(BadSignature):
        take(source, a_request(BODY, headers_for(signing.new_secret("v1"), BODY)))
    with pytest.raises(BadSignature):
        take(a_source("standard", PUBLIC), a_request(BODY, headers_for(SECRETS["standard"], BODY)))


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize(("signs", "holds"), [(SECRETS["standard"], SECRETS["standard"]), (PRIVATE, PUBLIC)])
def test_all_three_headers_are_needed(missing: str, signs: str, holds: str) -> None:
    headers = headers_for(signs, BODY)
    for value in (None, ""):
        request = a_request(
            BODY,
            headers | {missing: value} if value is not None else {k: v for k, v in headers.items() if k != missing},
        )
        with pytest.raises(BadSignature):
            take(a_source("standard", holds), request)


BAD_SECRETS = [
    PRIVATE,
    PUBLIC[:-4],
    "whpk_" + "A" * 44,
    "whsec_c2hvcnQ=",
    "whsec_not base64",
    "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWZ=",  # spare bits set
    "sk_live_1",
]


@pytest.mark.parametrize("secret", BAD_SECRETS)
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        KIND.validate_config({}, (secret,))
    assert refused.value.errors[0].path == "secrets[0]"
    assert secret not in refused.value.detail


def test_good_secrets_pass_with_and_without_their_prefix() -> None:
    KIND.validate_config({}, (SECRETS["standard"], SECRETS["standard"].removeprefix("whsec_"), PUBLIC))


PROOFS = [(SECRETS["standard"], SECRETS["standard"]), (PRIVATE, PUBLIC)]
PROOFS += [(v["secret"], v.get("public", v["secret"])) for v in vectors("standard-webhooks")]


@pytest.mark.parametrize(("signs", "holds"), PROOFS)
def test_no_byte_may_differ(signs: str, holds: str) -> None:
    body = b'{"test": 2432232314}'
    headers = headers_for(signs, body)
    take(a_source("standard", holds), a_request(body, headers))
    forged = [(holds, body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :], headers) for i in range(len(body))]
    forged += [(wrong, body, headers) for wrong in flips(holds)]
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        forged += [(holds, body, headers | {name: wrong}) for wrong in flips(headers[name])]
    for wrong_secret, wrong_body, wrong_headers in forged:
        with pytest.raises(BadSignature):
            take(a_source("standard", wrong_secret), a_request(wrong_body, wrong_headers))


# Made with `openssl dgst -hmac`, not with our code.
VECTOR = {
    "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "id": "msg_own",
    "timestamp": 1_700_000_000,
    "body": '{"foo":"bär"}',
    "expected": "v1,2oa8XWlktJZXnM0uce+VIv41FNQzKey/yrowPpGyXm0=",
}


@pytest.mark.parametrize("vector", [VECTOR, *vectors("standard-webhooks")])
def test_the_vectors_are_accepted_and_reproduced(vector: dict[str, Any]) -> None:
    body, at = vector["body"].encode(), vector["timestamp"] * SECOND
    headers = headers_for(vector["secret"], body, at, vector["id"])
    assert headers["webhook-signature"] == vector["expected"]
    source = a_source("standard", signing.new_secret("v1"), vector.get("public", vector["secret"]))
    assert take(source, a_request(body, headers), at).type == "standard.unknown_topic"
