"""What the `data` of catalogue events holds: one struct a thing, the same whatever system it came from.

Ids are strings (exact beyond 2^53), money is minor units and currency, instants are RFC 3339 in UTC. A field the
provider does not tell is left out; lists are always there. `status` fields keep the provider's own word.
"""

from typing import Annotated

import msgspec

from orderwire.money import Money

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Canonical(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the catalogue's structs; unknown fields are allowed, so that they may grow."""


class Address(Canonical, frozen=True, kw_only=True):
    """A postal address. `country_code` is ISO 3166-1 alpha-2 where the provider gives it."""

    name: str | None = None
    company: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    region_code: str | None = None
    postal_code: str | None = None
    country: str | None = None
    country_code: str | None = None
    phone: str | None = None


class Customer(Canonical, frozen=True, kw_only=True):
    """A person who buys."""

    id: str
    email: str | None = None
    phone: str | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    currency: str | None = None
    locale: str | None = None
    note: str | None = None
    tags: str | None = None
    status: str | None = None
    address: Address | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None


class LineItem(Canonical, frozen=True, kw_only=True):
    """One line of an order, checkout, refund or fulfillment."""

    id: str | None = None
    product_id: str | None = None
    variant_id: str | None = None
    sku: str | None = None
    title: str | None = None
    variant_title: str | None = None
    quantity: int
    unit_price: Money | None = None
    discount: Money | None = None


class Order(Canonical, frozen=True, kw_only=True):
    """An order as it stands at the event's time."""

    id: str
    number: str | None = None
    name: str | None = None
    currency: str
    total: Money
    subtotal: Money | None = None
    tax: Money | None = None
    shipping: Money | None = None
    discount: Money | None = None
    outstanding: Money | None = None
    financial_status: str | None = None
    fulfillment_status: str | None = None
    email: str | None = None
    phone: str | None = None
    customer: Customer | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    line_items: list[LineItem]
    checkout_id: str | None = None
    cart_id: str | None = None
    sales_channel: str | None = None
    status_url: str | None = None
    note: str | None = None
    tags: str | None = None
    test: bool | None = None
    cancel_reason: str | None = None
    cancelled_at: Instant | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None


class Checkout(Canonical, frozen=True, kw_only=True):
    """A checkout on its way to an order. `recovery_url` brings the customer back to it."""

    id: str
    cart_id: str | None = None
    status: str | None = None
    currency: str | None = None
    total: Money | None = None
    subtotal: Money | None = None
    tax: Money | None = None
    discount: Money | None = None
    email: str | None = None
    phone: str | None = None
    customer_id: str | None = None
    customer: Customer | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    line_items: list[LineItem]
    payment_id: str | None = None
    reference: str | None = None
    recovery_url: str | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    completed_at: Instant | None = None


class Payment(Canonical, frozen=True, kw_only=True):
    """A movement of money towards the merchant: authorised, succeeded, failed, ..."""

    id: str
    order_id: str | None = None
    customer_id: str | None = None
    reference: str | None = None
    amount: Money
    amount_received: Money | None = None
    status: str | None = None
    movement: str | None = None
    gateway: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    test: bool | None = None
    created_at: Instant | None = None


class Refund(Canonical, frozen=True, kw_only=True):
    """Money going back. `id` is missing where the provider tells only the payment; `amount`, where no money moved."""

    id: str | None = None
    order_id: str | None = None
    payment_id: str | None = None
    amount: Money | None = None
    refunded_total: Money | None = None
    status: str | None = None
    reason: str | None = None
    note: str | None = None
    line_items: list[LineItem]
    created_at: Instant | None = None


class Dispute(Canonical, frozen=True, kw_only=True):
    """A customer's bank asks for money back."""

    id: str
    order_id: str | None = None
    payment_id: str | None = None
    amount: Money
    reason: str | None = None
    status: str | None = None
    evidence_due_at: Instant | None = None
    created_at: Instant | None = None
    closed_at: Instant | None = None


class Payout(Canonical, frozen=True, kw_only=True):
    """Money on its way to the merchant's bank."""

    id: str
    amount: Money
    status: str | None = None
    method: str | None = None
    failure_message: str | None = None
    arrives_at: Instant | None = None
    created_at: Instant | None = None


class Invoice(Canonical, frozen=True, kw_only=True):
    """One billing of a subscription."""

    id: str
    subscription_id: str
    customer_id: str | None = None
    number: str | None = None
    email: str | None = None
    amount_due: Money
    amount_paid: Money | None = None
    status: str | None = None
    attempt_count: int | None = None
    invoice_url: str | None = None
    created_at: Instant | None = None


class Fulfillment(Canonical, frozen=True, kw_only=True):
    """Goods handed over for an order, or a part of it."""

    id: str
    order_id: str | None = None
    name: str | None = None
    status: str | None = None
    shipment_status: str | None = None
    location_id: str | None = None
    carrier: str | None = None
    tracking_numbers: list[str]
    tracking_urls: list[str]
    destination: Address | None = None
    line_items: list[LineItem]
    created_at: Instant | None = None
    updated_at: Instant | None = None


class Shipment(Canonical, frozen=True, kw_only=True):
    """Where a parcel is. `id` is the fulfillment's where the provider tracks fulfillments."""

    id: str
    order_id: str | None = None
    fulfillment_id: str | None = None
    status: str
    message: str | None = None
    location: Address | None = None
    estimated_delivery_at: Instant | None = None
    happened_at: Instant | None = None


class Variant(Canonical, frozen=True, kw_only=True):
    """One sellable form of a product."""

    id: str
    sku: str | None = None
    title: str | None = None
    barcode: str | None = None
    price: Money | None = None
    compare_at_price: Money | None = None
    inventory_item_id: str | None = None
    inventory_quantity: int | None = None


class Product(Canonical, frozen=True, kw_only=True):
    """A product with its variants."""

    id: str
    title: str | None = None
    handle: str | None = None
    vendor: str | None = None
    product_type: str | None = None
    status: str | None = None
    tags: str | None = None
    variants: list[Variant]
    created_at: Instant | None = None
    updated_at: Instant | None = None


class InventoryLevel(Canonical, frozen=True, kw_only=True):
    """How many of an item a location has; negative when oversold."""

    inventory_item_id: str
    location_id: str | None = None
    sku: str | None = None
    available: int | None = None
    updated_at: Instant | None = None


class Shop(Canonical, frozen=True, kw_only=True):
    """A shop itself."""

    id: str
    domain: str | None = None
    name: str | None = None
    email: str | None = None
    currency: str | None = None
    country_code: str | None = None


class PrivacyRequest(Canonical, frozen=True, kw_only=True):
    """A customer, or a whole shop, asks for their data or for its erasure."""

    id: str | None = None
    shop_id: str | None = None
    shop_domain: str | None = None
    customer_id: str | None = None
    email: str | None = None
    phone: str | None = None
    order_ids: list[str]


class Deleted(Canonical, frozen=True, kw_only=True):
    """The id of a thing that is no more."""

    id: str
