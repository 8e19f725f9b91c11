"""Every canonical event type with its one line, the struct of its `data`, and the JSON Schema of that.

The names are those of COMMERCE.md section 5. A type without a struct is a name kept free for the sources that
will speak it; its `data` is any JSON.
"""

from functools import cache
from typing import Any

import msgspec

from orderwire.commerce import structs as s

DataStruct = type[s.Canonical]


class CanonicalType(msgspec.Struct, frozen=True):
    """One entry of the catalogue."""

    type: str
    description: str
    data: DataStruct | None = None


CATALOGUE: tuple[CanonicalType, ...] = (
    CanonicalType("order.created", "A customer placed an order.", s.Order),
    CanonicalType("order.updated", "Something about an order changed.", s.Order),
    CanonicalType("order.status_changed", "An order moved to another status.", s.Order),
    CanonicalType("order.paid", "An order is paid in full.", s.Order),
    CanonicalType("order.confirmed", "The payments of an order cover what is owed.", s.Order),
    CanonicalType("order.cancelled", "An order was cancelled.", s.Order),
    CanonicalType("order.deleted", "An order was deleted.", s.Deleted),
    CanonicalType("order.fulfilled", "Goods of an order were sent, all or part: see fulfillment_status.", s.Order),
    CanonicalType("order.risk_changed", "The fraud assessment of an order changed."),
    CanonicalType("cart.created", "A customer began a cart."),
    CanonicalType("cart.updated", "A cart changed."),
    CanonicalType("checkout.started", "A customer began to check out.", s.Checkout),
    CanonicalType("checkout.updated", "A checkout changed.", s.Checkout),
    CanonicalType("checkout.abandoned", "A checkout was left without an order.", s.Checkout),
    CanonicalType("checkout.completed", "A checkout became an order.", s.Checkout),
    CanonicalType("payment.authorized", "An amount is reserved, not yet captured.", s.Payment),
    CanonicalType("payment.succeeded", "Money was taken.", s.Payment),
    CanonicalType("payment.failed", "A payment was declined or broke.", s.Payment),
    CanonicalType("payment.pending", "A payment is under way and not decided.", s.Payment),
    CanonicalType("payment.cancelled", "A payment was called off before capture.", s.Payment),
    CanonicalType("payment.mismatch", "What was paid and what is owed disagree."),
    CanonicalType("refund.created", "Money was given back.", s.Refund),
    CanonicalType("refund.failed", "A refund did not go through.", s.Refund),
    CanonicalType("dispute.opened", "A customer's bank opened a dispute.", s.Dispute),
    CanonicalType("dispute.updated", "A dispute changed.", s.Dispute),
    CanonicalType("dispute.closed", "A dispute was decided.", s.Dispute),
    CanonicalType("payout.paid", "A payout was sent to the bank.", s.Payout),
    CanonicalType("payout.failed", "A payout did not go through.", s.Payout),
    CanonicalType("product.created", "A product was added.", s.Product),
    CanonicalType("product.updated", "A product changed.", s.Product),
    CanonicalType("product.deleted", "A product was deleted.", s.Deleted),
    CanonicalType("inventory.level_changed", "The stock of an item at a location changed.", s.InventoryLevel),
    CanonicalType("inventory.out_of_stock", "An item ran out.", s.InventoryLevel),
    CanonicalType("inventory.back_in_stock", "An item is there again.", s.InventoryLevel),
    CanonicalType("fulfillment.created", "Goods of an order were handed over.", s.Fulfillment),
    CanonicalType("fulfillment.updated", "A fulfillment changed.", s.Fulfillment),
    CanonicalType("fulfillment.cancelled", "A fulfillment was cancelled.", s.Fulfillment),
    CanonicalType("shipment.created", "A parcel is announced to the carrier.", s.Shipment),
    CanonicalType("shipment.in_transit", "A parcel is on its way.", s.Shipment),
    CanonicalType("shipment.out_for_delivery", "A parcel is on the last van.", s.Shipment),
    CanonicalType("shipment.delivered", "A parcel arrived.", s.Shipment),
    CanonicalType("shipment.exception", "A parcel is late, lost, or could not be handed over.", s.Shipment),
    CanonicalType("return.requested", "A customer asks to send goods back."),
    CanonicalType("return.approved", "A return was approved."),
    CanonicalType("return.received", "Returned goods arrived."),
    CanonicalType("return.closed", "A return is done."),
    CanonicalType("customer.created", "A customer was added.", s.Customer),
    CanonicalType("customer.updated", "A customer changed.", s.Customer),
    CanonicalType("customer.deleted", "A customer was deleted.", s.Deleted),
    CanonicalType("customer.merged", "Two customers became one."),
    CanonicalType("customer.consent_changed", "A customer allowed or forbade messages."),
    CanonicalType("customer.data_requested", "A customer asks what is known of them.", s.PrivacyRequest),
    CanonicalType("customer.redacted", "A customer's data must be erased.", s.PrivacyRequest),
    CanonicalType("customer.segment_joined", "A customer entered a segment."),
    CanonicalType("customer.segment_left", "A customer left a segment."),
    CanonicalType("subscription.billing_succeeded", "A subscription was billed and paid.", s.Invoice),
    CanonicalType("subscription.billing_failed", "A subscription's bill was not paid.", s.Invoice),
    CanonicalType("message.sent", "A message left for a customer."),
    CanonicalType("message.delivered", "A message arrived."),
    CanonicalType("message.bounced", "A message could not be delivered."),
    CanonicalType("message.complained", "A customer called a message spam."),
    CanonicalType("message.opened", "A customer opened a message."),
    CanonicalType("message.clicked", "A customer followed a link in a message."),
    CanonicalType("storefront.page_viewed", "A visitor saw a page (untrusted)."),
    CanonicalType("storefront.product_viewed", "A visitor saw a product (untrusted)."),
    CanonicalType("storefront.cart_updated", "A visitor changed the cart (untrusted)."),
    CanonicalType("storefront.search_performed", "A visitor searched (untrusted)."),
    CanonicalType("storefront.form_submitted", "A visitor sent a form (untrusted)."),
    CanonicalType("app.uninstalled", "A shop removed the app that sends its events.", s.Shop),
    CanonicalType("shop.redacted", "All data of a shop that removed the app must be erased.", s.PrivacyRequest),
    CanonicalType("endpoint.disabled", "A provider stopped sending to us."),
)

BY_TYPE: dict[str, CanonicalType] = {one.type: one for one in CATALOGUE}


@cache
def json_schema(event_type: str) -> dict[str, Any] | None:
    """The JSON Schema (2020-12) of a catalogue type's `data`; None where it may be any JSON. KeyError if unknown."""
    data = BY_TYPE[event_type].data
    if data is None:
        return None
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(data)}
