"""Stripe's bodies in the demo: snapshot events as docs.stripe.com/api/events has them, filled with a sale.

Amounts are whole minor units, instants unix seconds; the order an amount belongs to stands in `metadata`.
"""

from datetime import datetime, timedelta
from typing import Any

from orderwire.demo.goods import CURRENCY, Line, Sale

API_VERSION = "2026-09-30.clover"
Body = dict[str, Any]


def event(id: str, type: str, at: datetime, about: Body, previous: Body | None = None) -> Body:
    """The envelope that every webhook of Stripe has."""
    data = {"object": about} if previous is None else {"object": about, "previous_attributes": previous}
    return {
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": _seconds(at),
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": f"req_{id[-14:]}", "idempotency_key": None},
        "type": type,
        "data": data,
    }


def intent_id(sale: Sale) -> str:
    """The id of a sale's payment."""
    return f"pi_{sale.token[:24]}"


def dispute_id(sale: Sale) -> str:
    """The id of the dispute about a sale, should there be one."""
    return f"dp_{sale.token[:24]}"


def refund_id(sale: Sale) -> str:
    """The id of a sale's refund, should there be one."""
    return f"re_{sale.token[:24]}"


def intent(sale: Sale, status: str) -> Body:
    """The object of `payment_intent.processing`, `.succeeded` and `.payment_failed`."""
    failed = status == "requires_payment_method"
    return {
        "id": intent_id(sale),
        "object": "payment_intent",
        "amount": sale.total,
        "amount_received": sale.total if status == "succeeded" else 0,
        "currency": CURRENCY.lower(),
        "status": status,
        "created": _seconds(sale.started),
        "customer": f"cus_{sale.person.id}",
        "description": f"Encomenda #{sale.number}",
        "latest_charge": None if failed else _charge_id(sale),
        "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"} if failed else None,
        "livemode": False,
        "metadata": _metadata(sale),
        "payment_method_types": ["card"],
    }


def charge(sale: Sale, line: Line) -> Body:
    """The object of `charge.refunded`: the price of one of `line` went back."""
    return {
        "id": _charge_id(sale),
        "object": "charge",
        "amount": sale.total,
        "amount_captured": sale.total,
        "amount_refunded": line.price,
        "currency": CURRENCY.lower(),
        "captured": True,
        "paid": True,
        "refunded": line.price == sale.total,
        "status": "succeeded",
        "created": _seconds(sale.started),
        "payment_intent": intent_id(sale),
        "livemode": False,
        "metadata": _metadata(sale),
        "billing_details": {"name": f"{sale.person.first} {sale.person.last}", "email": sale.person.email},
        "refunds": {
            "object": "list",
            "data": [
                {
                    "id": refund_id(sale),
                    "object": "refund",
                    "amount": line.price,
                    "currency": CURRENCY.lower(),
                    "status": "succeeded",
                    "reason": "requested_by_customer",
                    "created": _seconds(sale.at),
                }
            ],
        },
    }


def dispute(sale: Sale, status: str) -> Body:
    """The object of `charge.dispute.created` and `.closed`."""
    return {
        "id": dispute_id(sale),
        "object": "dispute",
        "amount": sale.total,
        "currency": CURRENCY.lower(),
        "charge": _charge_id(sale),
        "payment_intent": intent_id(sale),
        "reason": "product_not_received",
        "status": status,
        "created": _seconds(sale.at),
        "evidence_details": {
            "due_by": _seconds(sale.at + timedelta(days=7)),
            "has_evidence": status != "needs_response",
        },
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": _metadata(sale),
    }


def _charge_id(sale: Sale) -> str:
    return f"ch_{sale.token[:24]}"


def _metadata(sale: Sale) -> dict[str, str]:
    return {"order_id": str(sale.id)}


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
