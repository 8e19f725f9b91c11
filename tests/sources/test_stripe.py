"""Stripe: proof with its tolerance, its events in our vocabulary, thin events as they are."""

import json
from typing import Any

import pytest

from orderwire.clock import SECOND, to_rfc3339
from orderwire.errors import Invalid
from orderwire.sources import KINDS
from orderwire.sources.base import BadSignature
from tests.sources.playing import NOW, SECRETS, a_request, a_source, data_of, flips, origin_of, take, told, vectors

KIND = KINDS["stripe"]
NOW_S = NOW // SECOND


def snapshot(event_type: str, about: Any, previous: Any = None) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28",
        "created": NOW_S - 60,
        "type": event_type,
        "livemode": False,
        "data": {"object": about} | ({"previous_attributes": previous} if previous else {}),
    }


INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 3010,
    "amount_received": 3010,
    "currency": "gbp",
    "customer": {"id": "cus_1", "object": "customer"},
    "latest_charge": "ch_1",
    "status": "succeeded",
    "livemode": False,
    "metadata": {"order_id": "1001"},
    "last_payment_error": {"code": "card_declined", "decline_code": "lost_card", "message": "no"},
    "created": NOW_S - 61,
}
CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "amount": 3010,
    "amount_refunded": 1500,
    "currency": "gbp",
    "payment_intent": "pi_1",
}
REFUND = {"id": "re_1", "charge": "ch_1", "amount": 500, "currency": "gbp", "failure_reason": "expired_card"}
DISPUTE = {
    "id": "dp_1",
    "amount": 3010,
    "currency": "gbp",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "reason": "fraudulent",
    "status": "needs_response",
    "evidence_details": {"due_by": NOW_S + 86_400},
    "created": NOW_S,
}
PERSON = {"id": "cus_1", "email": "ada@example.com", "currency": "gbp", "address": {"line1": "1 Row", "country": "GB"}}
SESSION = {
    "id": "cs_1",
    "currency": "gbp",
    "amount_total": 3010,
    "customer_details": {"email": "ada@example.com", "address": {"city": None}},
    "line_items": {"data": [{"id": "li_1", "description": "Tea", "quantity": 2, "price": {"unit_amount": 1505}}]},
    "payment_intent": "pi_1",
}
PAYOUT = {"id": "po_1", "amount": 90000, "currency": "gbp", "status": "paid", "arrival_date": NOW_S}
INVOICE = {"id": "in_1", "currency": "gbp", "amount_due": 999, "customer": "cus_1", "subscription": "sub_1"}

MAPPED = {
    "payment_intent.amount_capturable_updated": (INTENT, "payment.authorized", "payment/pi_1"),
    "payment_intent.succeeded": (INTENT, "payment.succeeded", "payment/pi_1"),
    "payment_intent.payment_failed": (INTENT, "payment.failed", "payment/pi_1"),
    "payment_intent.processing": (INTENT, "payment.pending", "payment/pi_1"),
    "payment_intent.canceled": (INTENT, "payment.cancelled", "payment/pi_1"),
    "charge.refunded": (CHARGE, "refund.created", "payment/pi_1"),
    "charge.refund.updated": (REFUND | {"status": "failed"}, "refund.failed", "refund/re_1"),
    "charge.dispute.created": (DISPUTE, "dispute.opened", "dispute/dp_1"),
    "charge.dispute.updated": (DISPUTE, "dispute.updated", "dispute/dp_1"),
    "charge.dispute.closed": (DISPUTE, "dispute.closed", "dispute/dp_1"),
    "customer.created": (PERSON, "customer.created", "customer/cus_1"),
    "customer.updated": (PERSON, "customer.updated", "customer/cus_1"),
    "customer.deleted": (PERSON, "customer.deleted", "customer/cus_1"),
    "checkout.session.completed": (SESSION, "checkout.completed", "checkout/cs_1"),
    "checkout.session.expired": (SESSION, "checkout.abandoned", "checkout/cs_1"),
    "payout.paid": (PAYOUT, "payout.paid", "payout/po_1"),
    "payout.failed": (PAYOUT, "payout.failed", "payout/po_1"),
    "invoice.paid": (INVOICE, "subscription.billing_succeeded", "subscription/sub_1"),
    "invoice.payment_failed": (INVOICE, "subscription.billing_failed", "subscription/sub_1"),
}


@pytest.mark.parametrize(("topic", "means"), MAPPED.items(), ids=MAPPED.keys())
def test_a_type_has_its_event(topic: str, means: tuple[dict[str, Any], str, str], validate: Any) -> None:
    event = told("stripe", snapshot(topic, means[0]))
    assert (event.type, event.subject) == means[1:]
    assert event.time_at == NOW - 60 * SECOND
    validate(event)


def test_a_payment_in_our_words() -> None:
    event = told("stripe", snapshot("payment_intent.payment_failed", INTENT))
    assert data_of(event) == {
        "id": "pi_1",
        "order_id": "1001",
        "customer_id": "cus_1",
        "reference": "ch_1",
        "amount": {"amount": 3010, "currency": "GBP"},
        "amount_received": {"amount": 3010, "currency": "GBP"},
        "status": "succeeded",
        "error_code": "lost_card",
        "error_message": "no",
        "test": True,
        "created_at": to_rfc3339(NOW - 61 * SECOND),
    }
    assert origin_of(event) == {
        "provider": "stripe",
        "topic": "payment_intent.payment_failed",
        "event_id": "evt_1",
        "api_version": "2026-10-28",
        "livemode": False,
    }


REFUNDS = {
    "the second of two": ({"amount_refunded": 500}, {}, 1000),
    "the newest of a list": (None, {"refunds": {"data": [{"id": "re_2", "amount": 700}]}}, 700),
    "not told": (None, {}, None),
}


@pytest.mark.parametrize(("previous", "more", "moved"), REFUNDS.values(), ids=REFUNDS.keys())
def test_a_refund_is_what_moved_not_the_total(previous: Any, more: dict[str, Any], moved: int | None) -> None:
    data = data_of(told("stripe", snapshot("charge.refunded", CHARGE | more, previous)))
    assert data.get("amount") == (None if moved is None else {"amount": moved, "currency": "GBP"})
    assert data["refunded_total"] == {"amount": 1500, "currency": "GBP"}


AMOUNTS = {
    "two decimals": ("usd", 1010, 1010),
    "none": ("jpy", 500, 500),
    "three": ("bhd", 1230, 1230),
    "none, sent as two": ("isk", 500, 5),
    "none, sent as two also": ("ugx", 500, 5),
    "two, sent as none": ("mga", 5, 500),
}


@pytest.mark.parametrize(("currency", "sent", "minor"), AMOUNTS.values(), ids=AMOUNTS.keys())
def test_amounts_are_iso_minor_units(currency: str, sent: int, minor: int) -> None:
    data = data_of(told("stripe", snapshot("payout.paid", PAYOUT | {"currency": currency, "amount": sent})))
    assert data["amount"] == {"amount": minor, "currency": currency.upper()}


THIN = {
    "id": "evt_thin",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "created": "2026-11-23T20:00:00.000Z",
    "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
}
UNMAPPED = {
    "thin": (THIN, "stripe.v1.billing.meter.error_report_triggered", False),
    "thin, of a type we know as a snapshot": (
        THIN | {"type": "payment_intent.succeeded"},
        "stripe.payment_intent.succeeded",
        False,
    ),
    "nobody mapped it": (snapshot("product.created", {}), "stripe.product.created", False),
    "a one-off invoice": (snapshot("invoice.paid", INVOICE | {"subscription": None}), "stripe.invoice.paid", False),
    "a refund still under way": (
        snapshot("charge.refund.updated", REFUND | {"status": "pending"}),
        "stripe.charge.refund.updated",
        False,
    ),
    "no type": ({"id": "evt_test_webhook", "object": "event"}, "stripe.unknown_topic", False),
    "a type that is no text": (snapshot("x", {}) | {"type": 7}, "stripe.unknown_topic", False),
    "no object": (snapshot("payout.paid", None), "stripe.payout.paid", True),
    "a fraction of what has none": (
        snapshot("payout.paid", PAYOUT | {"currency": "isk", "amount": 501}),
        "stripe.payout.paid",
        True,
    ),
    "no currency": (snapshot("payout.paid", PAYOUT | {"currency": None}), "stripe.payout.paid", True),
    "not an event": ([1, 2], "stripe.unknown_topic", False),
}


@pytest.mark.parametrize(("body", "event_type", "problem"), UNMAPPED.values(), ids=UNMAPPED.keys())
def test_what_has_no_exact_word_comes_in_as_it_is(body: Any, event_type: str, problem: bool) -> None:
    raw = json.dumps(body).encode()
    event = told("stripe", raw)
    assert (event.type, event.data) == (event_type, raw)
    assert ("normalisation_error" in origin_of(event)) == problem


def test_thin_events_name_their_object_and_time() -> None:
    event = told("stripe", THIN)
    assert to_rfc3339(event.time_at) == "2026-11-23T20:00:00.000000Z"
    assert origin_of(event)["related_object"] == "mtr_1"


def test_the_event_id_is_the_key() -> None:
    one, again = told("stripe", snapshot("payout.paid", PAYOUT)), told("stripe", snapshot("payout.paid", {}))
    assert [(key.scope, key.key) for key in one.keys] == [("source:src_1:event", "evt_1")]
    assert [key.key for key in again.keys] == [key.key for key in one.keys]
    assert told("stripe", {"object": "event"}).keys[0].scope == "source:src_1:body"


@pytest.mark.parametrize(("off_s", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_stale_and_future_are_refused(off_s: int, taken: bool) -> None:
    headers = KIND.sign(SECRETS["stripe"], b"{}", NOW + off_s * SECOND)
    if taken:
        take(a_source("stripe"), a_request(b"{}", headers))
        return
    with pytest.raises(BadSignature):
        take(a_source("stripe"), a_request(b"{}", headers))


def test_during_a_rotation_either_signature_will_do() -> None:
    old, new = (KIND.sign(secret, b"{}", NOW)["stripe-signature"] for secret in ("whsec_old", "whsec_new"))
    both = {"stripe-signature": f"{old},{new.partition(',')[2]}"}
    take(a_source("stripe", "whsec_new"), a_request(b"{}", both))
    take(a_source("stripe", "whsec_old"), a_request(b"{}", both))


@pytest.mark.parametrize("secret", ["sk_live_1", "a", ""])
def test_another_keys_text_is_refused(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        KIND.validate_config({}, (secret,))
    assert refused.value.errors[0].path == "secrets[0]"


PROOFS = [(SECRETS["stripe"], NOW_S, '{"id": "evt_bär"}')]
PROOFS += [(v["secret"], v["timestamp"], v["body"]) for v in vectors("stripe")]


@pytest.mark.parametrize(("secret", "at_s", "body"), PROOFS)
def test_no_byte_may_differ(secret: str, at_s: int, body: str) -> None:
    raw, now = body.encode(), at_s * SECOND
    headers = KIND.sign(secret, raw, now)
    take(a_source("stripe", secret), a_request(raw, headers), now)
    forged = [(secret, raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :], headers) for i in range(len(raw))]
    forged += [(wrong, raw, headers) for wrong in flips(secret)]
    forged += [(secret, raw, {"stripe-signature": wrong}) for wrong in flips(headers["stripe-signature"])]
    for wrong_secret, wrong_body, wrong_headers in forged:
        with pytest.raises(BadSignature):
            take(a_source("stripe", wrong_secret), a_request(wrong_body, wrong_headers), now)


# Made with `openssl dgst -hmac`, not with our code.
VECTOR = {
    "header": "Stripe-Signature",
    "secret": "whsec_own_secret",
    "timestamp": 1_700_000_000,
    "body": '{"foo":"bär"}',
    "computed": "t=1700000000,v1=cb5c7642dbe5d29ef37b2429a837a87c8d874b95ea5f3cda0956f529478a23b1",
}


@pytest.mark.parametrize("vector", [VECTOR, *vectors("stripe")])
def test_the_vectors_are_accepted(vector: dict[str, Any]) -> None:
    headers = {vector["header"].lower(): vector["computed"]}
    source = a_source("stripe", "whsec_another", vector["secret"])
    take(source, a_request(vector["body"].encode(), headers), vector["timestamp"] * SECOND)
