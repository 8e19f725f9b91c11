"""Stripe: snapshot and thin events, `Stripe-Signature: t=..,v1=..`, 300 s tolerance into past and future.

The event's id is the dedupe key (Stripe repeats and does not order). Thin events (`v2.core.event`) name an object and
hold none: they come through as `stripe.TYPE`. COMMERCE.md 1.1, 1.2; docs.stripe.com/webhooks, /currencies.
"""

from typing import Any

import msgspec

from orderwire.clock import SECOND
from orderwire.commerce import structs as s
from orderwire.model import Source
from orderwire.money import Money
from orderwire.sources import recipes
from orderwire.sources.base import InboundRequest, Notice, SourceKind, body_seen_once, seen_once
from orderwire.sources.mapping import Fact, Shape, many, one, tell
from orderwire.sources.picks import (
    Pick,
    at,
    by,
    code,
    instant,
    minor,
    no_list,
    reference,
    same,
    text,
    time_at,
    whole,
)

# Where Stripe's amounts do not follow ISO 4217 (docs.stripe.com/currencies, "zero-decimal", "special cases").
EXPONENTS = {"ISK": 2, "MGA": 0, "UGX": 2}
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets start with
ORIGIN_FIELDS = {
    "event_id": "id",
    "api_version": "api_version",
    "account": "account",
    "livemode": "livemode",
    "related_object": "related_object.id",
}


# -- what its fields are called -----------------------------------------------------------------------------------


def _amount(*paths: str) -> Pick:
    return minor(*paths, exponents=EXPONENTS)


def _test(told: Any, _: str | None) -> bool | None:
    return None if not isinstance(at(told, "livemode"), bool) else not at(told, "livemode")


def _refunded(charge: Any, currency: str | None) -> Money | None:
    """What this refund moved: the charge tells the total so far and what it was before."""
    before = whole("previous_attributes.amount_refunded")(charge, None)
    if before is None:
        newest: Money | None = _amount("refunds.data.0.amount")(charge, currency)
        return newest
    total = whole("amount_refunded")(charge, None)
    moved: Money | None = _amount("moved")({"moved": (total or 0) - before}, currency)
    return moved


ADDRESS = Shape(
    s.Address,
    {
        **same(text, "line1", "line2", "city", "postal_code"),
        "region": text("state"),
        "country_code": text("country"),
    },
)
CUSTOMER = Shape(
    s.Customer,
    {
        **same(text, "id", "email", "phone", "name"),
        "currency": code("currency"),
        "locale": text("preferred_locales.0"),
        "note": text("description"),
        "address": one("address", ADDRESS),
        "created_at": instant("created"),
    },
)
PAYMENT = Shape(
    s.Payment,
    {
        **same(text, "id", "status"),
        **same(_amount, "amount", "amount_received"),
        "order_id": text("metadata.order_id"),
        "customer_id": reference("customer"),
        "reference": reference("latest_charge", "charges.data.0"),
        "error_code": text("last_payment_error.decline_code", "last_payment_error.code"),
        "error_message": text("last_payment_error.message"),
        "test": _test,
        "created_at": instant("created"),
    },
)
CHARGE_REFUND = Shape(
    s.Refund,
    {
        "id": text("refunds.data.0.id"),
        "order_id": text("metadata.order_id"),
        "payment_id": reference("payment_intent", "id"),
        "amount": _refunded,
        "refunded_total": _amount("amount_refunded"),
        "status": text("refunds.data.0.status"),
        "reason": text("refunds.data.0.reason"),
        "line_items": no_list,
        "created_at": instant("refunds.data.0.created"),
    },
)
REFUND = Shape(
    s.Refund,
    {
        **same(text, "id", "status"),
        "order_id": text("metadata.order_id"),
        "payment_id": reference("payment_intent", "charge"),
        "amount": _amount("amount"),
        "reason": text("failure_reason", "reason"),
        "line_items": no_list,
        "created_at": instant("created"),
    },
)
DISPUTE = Shape(
    s.Dispute,
    {
        **same(text, "id", "reason", "status"),
        "order_id": text("metadata.order_id"),
        "payment_id": reference("payment_intent", "charge"),
        "amount": _amount("amount"),
        "evidence_due_at": instant("evidence_details.due_by"),
        "created_at": instant("created"),
    },
)
PAYOUT = Shape(
    s.Payout,
    {
        **same(text, "id", "status", "method", "failure_message"),
        "amount": _amount("amount"),
        "arrives_at": instant("arrival_date"),
        "created_at": instant("created"),
    },
)
INVOICE = Shape(
    s.Invoice,
    {
        **same(text, "id", "number", "status"),
        **same(_amount, "amount_due", "amount_paid"),
        "subscription_id": reference("subscription", "parent.subscription_details.subscription"),
        "customer_id": reference("customer"),
        "email": text("customer_email"),
        "attempt_count": whole("attempt_count"),
        "invoice_url": text("hosted_invoice_url"),
        "created_at": instant("created"),
    },
)
SESSION_LINE = Shape(
    s.LineItem,
    {
        "id": text("id"),
        "product_id": reference("price.product"),
        "variant_id": text("price.id"),
        "title": text("description"),
        "quantity": whole("quantity"),
        "unit_price": _amount("price.unit_amount"),
    },
)
SESSION = Shape(
    s.Checkout,
    {
        **same(text, "id", "status"),
        "currency": code("currency"),
        "total": _amount("amount_total"),
        "subtotal": _amount("amount_subtotal"),
        "tax": _amount("total_details.amount_tax"),
        "discount": _amount("total_details.amount_discount"),
        "email": text("customer_details.email", "customer_email"),
        "phone": text("customer_details.phone"),
        "customer_id": reference("customer"),
        "billing_address": one("customer_details.address", ADDRESS),
        "shipping_address": one("shipping_details.address", ADDRESS),
        "line_items": many("line_items.data", SESSION_LINE),
        "payment_id": reference("payment_intent"),
        "reference": text("client_reference_id"),
        "recovery_url": text("after_expiration.recovery.url"),
        "created_at": instant("created"),
    },
)


# -- what its types mean ------------------------------------------------------------------------------------------


def _payment(event_type: str) -> Fact:
    return Fact(type=event_type, shape=PAYMENT, subject=("payment/{id}",))


def _dispute(event_type: str) -> Fact:
    return Fact(type=event_type, shape=DISPUTE, subject=("dispute/{id}",))


def _billing(event_type: str) -> Fact:
    subscription = INVOICE.picks["subscription_id"]
    return Fact(
        type=lambda invoice: event_type if subscription(invoice, None) else None,
        shape=INVOICE,
        subject=("subscription/{subscription_id}",),
    )


_REFUND, _CUSTOMER = ("refund/{id}", "payment/{payment_id}"), ("customer/{id}",)
_CHECKOUT, _PAYOUT = ("checkout/{id}",), ("payout/{id}",)

FACTS: dict[str, Fact] = {
    "payment_intent.amount_capturable_updated": _payment("payment.authorized"),
    "payment_intent.succeeded": _payment("payment.succeeded"),
    "payment_intent.payment_failed": _payment("payment.failed"),
    "payment_intent.processing": _payment("payment.pending"),
    "payment_intent.canceled": _payment("payment.cancelled"),
    "charge.refunded": Fact(type="refund.created", shape=CHARGE_REFUND, subject=_REFUND),
    "charge.refund.updated": Fact(type=by("status", {"failed": "refund.failed"}), shape=REFUND, subject=_REFUND),
    "charge.dispute.created": _dispute("dispute.opened"),
    "charge.dispute.updated": _dispute("dispute.updated"),
    "charge.dispute.closed": _dispute("dispute.closed"),
    "customer.created": Fact(type="customer.created", shape=CUSTOMER, subject=_CUSTOMER),
    "customer.updated": Fact(type="customer.updated", shape=CUSTOMER, subject=_CUSTOMER),
    "customer.deleted": Fact(type="customer.deleted", shape=Shape(s.Deleted, same(text, "id")), subject=_CUSTOMER),
    "checkout.session.completed": Fact(type="checkout.completed", shape=SESSION, subject=_CHECKOUT),
    "checkout.session.expired": Fact(type="checkout.abandoned", shape=SESSION, subject=_CHECKOUT),
    "payout.paid": Fact(type="payout.paid", shape=PAYOUT, subject=_PAYOUT),
    "payout.failed": Fact(type="payout.failed", shape=PAYOUT, subject=_PAYOUT),
    "invoice.paid": _billing("subscription.billing_succeeded"),
    "invoice.payment_failed": _billing("subscription.billing_failed"),
}


# -- the kind -----------------------------------------------------------------------------------------------------


def _verify(source: Source, request: InboundRequest, now_us: int) -> None:
    recipes.verify(recipes.STRIPE, source.secrets, request, now_us)


def _notices(source: Source, request: InboundRequest, document: Any, now_us: int) -> tuple[Notice, ...]:
    topic, event_id, about = at(document, "type"), at(document, "id"), at(document, "data.object")
    topic = topic if isinstance(topic, str) else ""
    if isinstance(about, dict):
        about = about | {"previous_attributes": at(document, "data.previous_attributes")}
    fact = FACTS.get(topic) if at(document, "object") == "event" else None
    notice = tell("stripe", topic, fact, about, request.body)
    if isinstance(event_id, str):
        key = seen_once(source, "event", event_id, now_us)
    else:
        key = body_seen_once(source, topic, request.body, now_us)
    origin = notice.origin | {name: at(document, path) for name, path in ORIGIN_FIELDS.items()}
    return (msgspec.structs.replace(notice, time_at=time_at(document, "created"), origin=origin, keys=(key,)),)


def _check_secret(secret: str) -> str | None:
    return None if secret.startswith(SECRET_PREFIX) else f"must start with {SECRET_PREFIX}"


def sign(  # the seam's words, needed or not
    secret: str,
    body: bytes,
    now_us: int,
    *,
    topic: str = "",  # noqa: ARG001
    message_id: str = "",  # noqa: ARG001
) -> dict[str, str]:
    """All headers of a true delivery of `body` by Stripe; type and id stand in the body."""
    stamp = str(now_us // SECOND)
    signature = recipes.signature(recipes.STRIPE, secret, stamp.encode() + b"." + body)
    return {"content-type": "application/json; charset=utf-8", "stripe-signature": f"t={stamp},v1={signature}"}


KIND = SourceKind(
    kind="stripe",
    title="Stripe",
    secret_hint="the endpoint's signing secret, whsec_...",  # noqa: S106
    check_secret=_check_secret,
    verify=_verify,
    notices=_notices,
    sign=sign,
)
