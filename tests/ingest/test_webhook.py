"""The way of a provider's request: refusals in order, and what an accepted one keeps."""

import json
from dataclasses import replace

import pytest

from orderwire.clock import DAY
from orderwire.errors import Malformed, TooLarge, UnsupportedMedia
from orderwire.ids import looks_generated
from orderwire.ingest.webhook import BadSignature, Handshake, InboundRequest, receive
from orderwire.model import Source, Trust
from orderwire.sources import KINDS
from tests.sources.playing import NOW, SECRETS, a_request, a_source, take

BODY = b'{"id": 1, "email":"a@b.c", "odd": 10.10}\n'
KIND = KINDS["shopify"]


def headers_for(body: bytes, **more: str) -> dict[str, str]:
    true = KIND.sign(SECRETS["shopify"], body, NOW, topic="customers/create", message_id="w-1")
    return true | {name.replace("_", "-"): value for name, value in more.items()}


def test_an_accepted_request_becomes_an_event_with_its_bytes() -> None:
    headers = headers_for(BODY, authorization="Bearer somebody", cookie="a=b", x_more="é")
    event = take(a_source("shopify"), a_request(BODY, headers))
    assert looks_generated(event.id)
    assert event.id.startswith("evt_")
    assert (event.tenant, event.source_id, event.received_at) == ("default", "src_1", NOW)
    assert (event.type, event.subject, event.trust) == ("customer.created", "customer/1", Trust.VERIFIED)
    assert event.time_at == NOW  # the body names no time
    assert event.raw is not None
    assert event.raw.body == BODY
    assert event.raw.content_type == "application/json"
    kept = json.loads(event.raw.headers)
    assert kept["x-more"] == "é"
    assert not {"authorization", "cookie"} & kept.keys()
    assert {key.expires_at for key in event.keys} == {NOW + 90 * DAY}


def test_a_bad_signature_is_refused_before_the_body_is_read() -> None:
    with pytest.raises(BadSignature) as refused:
        receive(a_source("shopify"), KIND, a_request(b"not json", headers_for(BODY)), NOW)
    assert refused.value.status == 401
    assert refused.value.reason not in refused.value.detail
    assert not refused.value.errors


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\xff"}'])
def test_a_signed_body_that_is_not_strict_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        receive(a_source("shopify"), KIND, a_request(body, headers_for(body)), NOW)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity", "ZSTD"])
def test_a_compressed_body_is_not_taken(encoding: str) -> None:
    with pytest.raises(UnsupportedMedia):
        receive(a_source("shopify"), KIND, a_request(BODY, headers_for(BODY, content_encoding=encoding)), NOW)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_identity_is_no_encoding(encoding: str) -> None:
    take(a_source("shopify"), a_request(BODY, headers_for(BODY, content_encoding=encoding)))


def test_a_body_over_the_limit_is_too_large() -> None:
    request = a_request(BODY, headers_for(BODY))
    receive(a_source("shopify"), KIND, request, NOW, body_bytes_max=len(BODY))
    with pytest.raises(TooLarge):
        receive(a_source("shopify"), KIND, request, NOW, body_bytes_max=len(BODY) - 1)


def test_a_handshake_is_answered_without_a_proof() -> None:
    def shake(source: Source, request: InboundRequest) -> Handshake | None:
        return Handshake(body=request.query.encode()) if request.method == "GET" else None

    polite = replace(KIND, handshake=shake)
    request = InboundRequest(method="GET", path="/in/src_1", query="challenge=42", headers={}, body=b"")
    assert receive(a_source("shopify"), polite, request, NOW) == Handshake(body=b"challenge=42")
    with pytest.raises(BadSignature):
        receive(a_source("shopify"), KIND, request, NOW)
