"""What goes out to a webhook: the body of each payload, and `data` to the byte."""

import json

import msgspec
import pytest

from orderwire.clock import SECOND
from orderwire.destinations.webhook_request import WebhookPlan
from orderwire.model import Destination, Event, Secret
from orderwire.signing import new_secret, verify

AT = 1_795_464_078 * SECOND
TIME = "2026-11-23T20:01:18.000000Z"
DATA = b'{"total": 10.10, "b":1,"a":123456789012345678901}'
EVENT = Event(id="evt_1", tenant="acme", type="order.paid", data=DATA, time_at=AT, received_at=AT, subject='order/"1"')
SECRET = new_secret("v1")


def plan(payload: str) -> WebhookPlan:
    return WebhookPlan(
        Destination(
            id="dst_1",
            tenant="acme",
            kind="webhook",
            name="n",
            events=("*",),
            config={"url": "https://example.com", "payload": payload},
            secrets=(Secret(value=SECRET, created_at=AT),),
            created_at=AT,
            updated_at=AT,
        )
    )


def headers_of(payload: str, body: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in plan(payload).headers("evt_1", body, AT))


@pytest.mark.parametrize("payload", ["standard", "cloudevents"])
def test_data_goes_out_byte_for_byte(payload: str) -> None:
    body = plan(payload).body(EVENT)
    assert body.endswith(b',"data":' + DATA + b"}")
    assert json.loads(body)["type"] == "order.paid"


def test_thin_is_the_envelope_without_data() -> None:
    assert json.loads(plan("thin").body(EVENT)) == {
        "id": "evt_1",
        "type": "order.paid",
        "timestamp": TIME,
        "subject": 'order/"1"',
    }


def test_a_cloud_event_has_the_attributes_its_specification_asks_for() -> None:
    body = plan("cloudevents").body(EVENT)
    event = json.loads(body)
    del event["data"]
    assert event == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "urn:orderwire:tenant:acme",
        "type": "order.paid",
        "time": TIME,
        "datacontenttype": "application/json",
        "subject": 'order/"1"',
    }
    received = msgspec.structs.replace(EVENT, source_id="src_1", subject=None, supplied_id="o-1")
    other = json.loads(plan("cloudevents").body(received))
    assert (other["source"], other["id"]) == ("urn:orderwire:source:src_1", "o-1")
    assert "subject" not in other, "an attribute without a value is left out"


@pytest.mark.parametrize(
    ("payload", "media_type"),
    [("standard", "application/json"), ("thin", "application/json"), ("cloudevents", "application/cloudevents+json")],
)
def test_every_payload_is_signed_and_says_what_it_is(payload: str, media_type: str) -> None:
    body = plan(payload).body(EVENT)
    headers = headers_of(payload, body)
    assert headers["content-type"] == media_type
    assert verify(SECRET, "evt_1", int(headers["webhook-timestamp"]), body, headers["webhook-signature"])
