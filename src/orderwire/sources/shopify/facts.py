"""What Shopify's fields are called and what its topics mean: tables from its REST bodies to the catalogue.

Field names as in shopify.dev/docs/api/webhooks (bodies are those of the REST Admin API).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from orderwire.commerce import structs as s
from orderwire.money import Money, money
from orderwire.sources.mapping import Fact, Shape, many, one
from orderwire.sources.picks import (
    Pick,
    Unmappable,
    amount,
    at,
    by,
    code,
    first,
    flag,
    instant,
    same,
    text,
    texts,
    whole,
)

# -- what its fields are called -----------------------------------------------------------------------------------

ADDRESS = Shape(
    s.Address,
    {
        **same(text, "name", "company", "city", "country_code", "phone"),
        "line1": text("address1"),
        "line2": text("address2"),
        "region": text("province"),
        "region_code": text("province_code"),
        "postal_code": text("zip"),
        "country": text("country_name", "country"),
    },
)
CUSTOMER = Shape(
    s.Customer,
    {
        **same(text, "id", "email", "phone", "first_name", "last_name", "locale", "note", "tags"),
        "currency": code("currency"),
        **same(instant, "created_at", "updated_at"),
        "status": text("state"),
        "address": one("default_address", ADDRESS),
    },
)
LINE_ITEM = Shape(
    s.LineItem,
    {
        **same(text, "product_id", "variant_id", "sku", "title", "variant_title"),
        "id": text("id", "key"),
        "quantity": whole("quantity"),
        "unit_price": amount("price"),
        "discount": amount("total_discount"),
    },
)
REFUND_LINE = Shape(
    s.LineItem,
    {
        **{name: text(f"line_item.{name}") for name in ("product_id", "variant_id", "sku", "title")},
        "id": text("line_item_id"),
        "quantity": whole("quantity"),
    },
)
_SALE: dict[str, Pick] = {  # what orders and checkouts share
    "currency": code("currency"),
    "total": amount("total_price"),
    "subtotal": amount("subtotal_price"),
    "tax": amount("total_tax"),
    "discount": amount("total_discounts"),
    "email": text("email", "contact_email"),
    "phone": text("phone"),
    "customer": one("customer", CUSTOMER),
    "billing_address": one("billing_address", ADDRESS),
    "shipping_address": one("shipping_address", ADDRESS),
    "line_items": many("line_items", LINE_ITEM),
    "cart_id": text("cart_token"),
    **same(instant, "created_at", "updated_at"),
}
ORDER = Shape(
    s.Order,
    {
        **_SALE,
        **same(text, "id", "name", "financial_status", "fulfillment_status", "note", "tags", "cancel_reason"),
        "number": text("order_number"),
        "shipping": amount("total_shipping_price_set.shop_money.amount"),
        "outstanding": amount("total_outstanding"),
        "checkout_id": text("checkout_token"),
        "sales_channel": text("source_name"),
        "status_url": text("order_status_url"),
        "test": flag("test"),
        "cancelled_at": instant("cancelled_at"),
    },
)
CHECKOUT = Shape(
    s.Checkout,
    {
        **_SALE,
        "id": text("token", "id"),
        "customer_id": text("customer.id"),
        "reference": text("name"),
        "recovery_url": text("abandoned_checkout_url"),
        "completed_at": instant("completed_at"),
    },
)
TRANSACTION = Shape(
    s.Payment,
    {
        **same(text, "id", "order_id", "status", "gateway", "error_code"),
        "reference": text("payment_id", "authorization"),
        "amount": amount("amount"),
        "movement": text("kind"),
        "error_message": text("message"),
        "test": flag("test"),
        "created_at": instant("processed_at", "created_at"),
    },
)


def _refunded(refund: Any, currency: str | None) -> Money | None:
    """What really went back. A transaction may leave its currency to the sums beside it (Shopify's own example)."""
    moved = [
        move
        for move in at(refund, "transactions") or []
        if at(move, "kind") == "refund" and at(move, "status") == "success"
    ]
    beside = first(
        refund,
        "refund_line_items.0.subtotal_set.shop_money.currency_code",
        "total_duties_set.shop_money.currency_code",
    )
    codes = {str(at(move, "currency") or beside or currency).upper() for move in moved}
    if not moved:
        return None
    if len(codes) > 1:
        raise Unmappable("transactions in several currencies")
    return money(sum((Decimal(str(at(move, "amount"))) for move in moved), Decimal(0)), codes.pop())


REFUND = Shape(
    s.Refund,
    {
        **same(text, "id", "order_id", "note"),
        "amount": _refunded,
        "line_items": many("refund_line_items", REFUND_LINE),
        "created_at": instant("processed_at", "created_at"),
    },
)
DISPUTE = Shape(
    s.Dispute,
    {
        **same(text, "id", "order_id", "reason", "status"),
        "amount": amount("amount"),
        "evidence_due_at": instant("evidence_due_by"),
        "created_at": instant("initiated_at"),
        "closed_at": instant("finalized_on"),
    },
)
FULFILLMENT = Shape(
    s.Fulfillment,
    {
        **same(text, "id", "order_id", "name", "status", "shipment_status", "location_id"),
        **same(texts, "tracking_numbers", "tracking_urls"),
        **same(instant, "created_at", "updated_at"),
        "carrier": text("tracking_company"),
        "destination": one("destination", ADDRESS),
        "line_items": many("line_items", LINE_ITEM),
    },
)
SHIPMENT = Shape(
    s.Shipment,
    {
        **same(text, "order_id", "fulfillment_id", "status", "message"),
        **same(instant, "happened_at", "estimated_delivery_at"),
        "id": text("fulfillment_id"),
        "location": lambda told, currency: ADDRESS(told, currency) if first(told, "city", "country") else None,
    },
)
VARIANT = Shape(
    s.Variant,
    {
        **same(text, "id", "sku", "title", "barcode", "inventory_item_id"),
        **same(amount, "price", "compare_at_price"),
        "inventory_quantity": whole("inventory_quantity"),
    },
)
PRODUCT = Shape(
    s.Product,
    {
        **same(text, "id", "title", "handle", "vendor", "product_type", "status", "tags"),
        **same(instant, "created_at", "updated_at"),
        "variants": many("variants", VARIANT),
    },
)
LEVEL = Shape(
    s.InventoryLevel,
    {
        **same(text, "inventory_item_id", "location_id"),
        "available": whole("available"),
        "updated_at": instant("updated_at"),
    },
)
SHOP = Shape(
    s.Shop,
    {
        **same(text, "id", "name", "email", "country_code"),
        "currency": code("currency"),
        "domain": text("myshopify_domain", "domain"),
    },
)
PRIVACY = Shape(
    s.PrivacyRequest,
    {
        **same(text, "shop_id", "shop_domain"),
        "id": text("data_request.id"),
        "customer_id": text("customer.id"),
        "email": text("customer.email"),
        "phone": text("customer.phone"),
        "order_ids": lambda told, _: texts("orders_requested")(told, _) + texts("orders_to_redact")(told, _),
    },
)
DELETED = Shape(s.Deleted, {"id": text("id")})


# -- what its topics mean -----------------------------------------------------------------------------------------


def _order(event_type: str, contradiction: Callable[[Any], str | None] = lambda _: None) -> Fact:
    return Fact(type=event_type, shape=ORDER, subject=("order/{id}",), contradiction=contradiction)


def _unpaid(order: Any) -> str | None:
    status = at(order, "financial_status")
    return (
        f"topic says paid, financial_status {status}" if status in {"pending", "authorized", "partially_paid"} else None
    )


def _kept(order: Any) -> str | None:
    return "topic says cancelled, cancelled_at null" if "cancelled_at" in order and not order["cancelled_at"] else None


def _transaction_type(move: Any) -> str | None:
    """Refunds come with refunds/create; told twice they would be booked twice."""
    kind, status = at(move, "kind"), at(move, "status")
    if kind == "void":
        return "payment.cancelled" if status == "success" else None
    if kind not in {"authorization", "sale", "capture"}:
        return None
    done = "payment.authorized" if kind == "authorization" else "payment.succeeded"
    names = {"success": done, "failure": "payment.failed", "error": "payment.failed", "pending": "payment.pending"}
    return names.get(str(status))


SHIPMENT_TYPES = {
    **dict.fromkeys(("label_printed", "label_purchased", "confirmed"), "shipment.created"),
    **dict.fromkeys(("in_transit", "carrier_picked_up"), "shipment.in_transit"),
    "out_for_delivery": "shipment.out_for_delivery",
    "delivered": "shipment.delivered",
    **dict.fromkeys(("failure", "attempted_delivery", "delayed"), "shipment.exception"),
}
DISPUTE_ENDS = dict.fromkeys(("won", "lost", "accepted", "charge_refunded"), "dispute.closed")
_FULFILLMENT, _PRODUCT, _DISPUTE = ("fulfillment/{id}",), ("product/{id}",), ("dispute/{id}",)
_CUSTOMER, _CHECKOUT = ("customer/{id}",), ("checkout/{id}",)
_ASKED = ("customer/{customer_id}", "shop/{shop_id}")

FACTS: dict[str, Fact] = {
    "orders/create": _order("order.created"),
    "orders/updated": _order("order.updated"),
    "orders/paid": _order("order.paid", _unpaid),
    "orders/cancelled": _order("order.cancelled", _kept),
    "orders/fulfilled": _order("order.fulfilled"),
    "orders/partially_fulfilled": _order("order.fulfilled"),
    "orders/delete": Fact(type="order.deleted", shape=DELETED, subject=("order/{id}",)),
    "checkouts/create": Fact(type="checkout.started", shape=CHECKOUT, subject=_CHECKOUT),
    "checkouts/update": Fact(type="checkout.updated", shape=CHECKOUT, subject=_CHECKOUT),
    "order_transactions/create": Fact(type=_transaction_type, shape=TRANSACTION, subject=("payment/{id}",)),
    "refunds/create": Fact(type="refund.created", shape=REFUND, subject=("refund/{id}",)),
    "disputes/create": Fact(type="dispute.opened", shape=DISPUTE, subject=_DISPUTE, time=("initiated_at",)),
    "disputes/update": Fact(
        type=by("status", DISPUTE_ENDS, "dispute.updated"), shape=DISPUTE, subject=_DISPUTE, time=("finalized_on",)
    ),
    "customers/create": Fact(type="customer.created", shape=CUSTOMER, subject=_CUSTOMER),
    "customers/update": Fact(type="customer.updated", shape=CUSTOMER, subject=_CUSTOMER),
    "customers/delete": Fact(type="customer.deleted", shape=DELETED, subject=_CUSTOMER),
    "customers/data_request": Fact(type="customer.data_requested", shape=PRIVACY, subject=_ASKED),
    "customers/redact": Fact(type="customer.redacted", shape=PRIVACY, subject=_ASKED),
    "shop/redact": Fact(type="shop.redacted", shape=PRIVACY, subject=("shop/{shop_id}",)),
    "fulfillments/create": Fact(type="fulfillment.created", shape=FULFILLMENT, subject=_FULFILLMENT),
    "fulfillments/update": Fact(
        type=by("status", {"cancelled": "fulfillment.cancelled"}, "fulfillment.updated"),
        shape=FULFILLMENT,
        subject=_FULFILLMENT,
    ),
    "fulfillment_events/create": Fact(
        type=by("status", SHIPMENT_TYPES),
        shape=SHIPMENT,
        subject=("shipment/{id}",),
        time=("happened_at", "created_at"),
    ),
    "products/create": Fact(type="product.created", shape=PRODUCT, subject=_PRODUCT),
    "products/update": Fact(type="product.updated", shape=PRODUCT, subject=_PRODUCT),
    "products/delete": Fact(type="product.deleted", shape=DELETED, subject=_PRODUCT),
    "inventory_levels/update": Fact(
        type="inventory.level_changed", shape=LEVEL, subject=("inventory/{inventory_item_id}/{location_id}",)
    ),
    "app/uninstalled": Fact(type="app.uninstalled", shape=SHOP, subject=("shop/{id}",)),
}
