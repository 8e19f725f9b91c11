"""Shopify: proof, unsigned headers cross-checked, replays, and its bodies in our vocabulary."""

import json
from typing import Any

import pytest

from orderwire.clock import to_rfc3339
from orderwire.errors import Invalid
from orderwire.sources import KINDS
from orderwire.sources.base import BadSignature
from tests.sources.playing import (
    NOW,
    SECRETS,
    a_request,
    a_source,
    data_of,
    flips,
    origin_of,
    take,
    told,
    vectors,
)

KIND = KINDS["shopify"]
ADDRESS = {
    "first_name": "Ada",
    "name": "Ada Byron",
    "address1": "1 Engine Row",
    "address2": None,
    "city": "London",
    "province": "England",
    "province_code": "ENG",
    "zip": "N1 7AA",
    "country": "United Kingdom",
    "country_code": "GB",
}
ORDER: dict[str, Any] = {
    "id": 9_007_199_254_740_993_001,
    "order_number": 1001,
    "name": "#1001",
    "currency": "GBP",
    "total_price": "30.10",
    "subtotal_price": "25.10",
    "total_tax": "0.00",
    "total_discounts": "1.00",
    "total_shipping_price_set": {"shop_money": {"amount": "5.00", "currency_code": "GBP"}},
    "financial_status": "paid",
    "fulfillment_status": None,
    "email": "",
    "contact_email": "ada@example.com",
    "customer": {"id": 7, "email": "ada@example.com", "first_name": "Ada", "default_address": ADDRESS},
    "shipping_address": ADDRESS,
    "billing_address": None,
    "line_items": [
        {"id": 11, "sku": "TEA-1", "title": "Tea", "quantity": 2, "price": "13.05", "total_discount": "1.00"}
    ],
    "test": False,
    "cancelled_at": None,
    "created_at": "2026-11-23T21:00:00+01:00",
    "updated_at": "2026-11-23T20:00:01Z",
}


def test_an_order_in_our_words() -> None:
    event = told("shopify", ORDER, "orders/create")
    assert (event.type, event.subject) == ("order.created", "order/9007199254740993001")
    assert to_rfc3339(event.time_at) == "2026-11-23T20:00:01.000000Z"
    data = data_of(event)
    assert data["id"] == "9007199254740993001"
    assert data["total"] == {"amount": 3010, "currency": "GBP"}
    assert data["shipping"] == {"amount": 500, "currency": "GBP"}
    assert data["email"] == "ada@example.com"
    assert data["created_at"] == "2026-11-23T20:00:00.000000Z"
    assert data["shipping_address"]["postal_code"] == "N1 7AA"
    assert data["customer"]["address"]["country_code"] == "GB"
    assert "billing_address" not in data
    assert data["line_items"] == [
        {
            "id": "11",
            "sku": "TEA-1",
            "title": "Tea",
            "quantity": 2,
            "unit_price": {"amount": 1305, "currency": "GBP"},
            "discount": {"amount": 100, "currency": "GBP"},
        }
    ]


def test_numbers_are_read_exactly() -> None:
    body = json.dumps(ORDER | {"total_price": 0}).replace('"total_price": 0', '"total_price": 90071992547409.93')
    assert data_of(told("shopify", body.encode(), "orders/create"))["total"]["amount"] == 9_007_199_254_740_993


YEN = ORDER | {"currency": "JPY", "total_price": "500.00", "subtotal_price": "500", "total_shipping_price_set": None}


def test_currencies_have_their_own_decimals() -> None:
    yen = YEN | {"total_discounts": "0", "line_items": []}
    assert data_of(told("shopify", yen, "orders/create"))["total"] == {"amount": 500, "currency": "JPY"}


REFUND = {
    "id": 21,
    "order_id": 1,
    "note": "broken",
    "created_at": "2026-11-23T20:00:00Z",
    "refund_line_items": [{"line_item_id": 11, "quantity": 1, "line_item": {"sku": "TEA-1", "title": "Tea"}}],
    "transactions": [
        {"kind": "refund", "status": "success", "amount": "10.00", "currency": "GBP"},
        {"kind": "refund", "status": "failure", "amount": "99.00", "currency": "GBP"},
        {"kind": "refund", "status": "success", "amount": "3.05", "currency": None},
    ],
    "total_duties_set": {"shop_money": {"amount": "0.00", "currency_code": "GBP"}},
}
MOVE = {"id": 31, "order_id": 1, "amount": "13.05", "currency": "GBP", "created_at": "2026-11-23T20:00:00Z"}
DISPUTE = {"id": 41, "order_id": 1, "amount": "13.05", "currency": "GBP", "reason": "fraudulent"}
PARCEL = {"id": 51, "order_id": 1, "status": "success", "tracking_company": "UPS", "tracking_numbers": ["1Z"]}
STEP = {"id": 61, "fulfillment_id": 51, "order_id": 1, "happened_at": "2026-11-23T20:00:00Z", "city": "Leeds"}
PRODUCT = {"id": 71, "title": "Tea", "variants": [{"id": 72, "sku": "TEA-1", "price": "13.05"}]}
LEVEL = {"inventory_item_id": 81, "location_id": 82, "available": -3, "updated_at": "2026-11-23T20:00:00Z"}
CHECKOUT = {"token": "abc", "currency": "GBP", "total_price": "13.05", "line_items": [], "name": "#91"}
PERSON = {"id": 7, "email": "ada@example.com"}
SHOP = {"id": 5, "name": "Teas", "myshopify_domain": "teas.myshopify.com"}
ASKED = {"shop_id": 5, "shop_domain": "teas.myshopify.com", "customer": PERSON, "orders_requested": [1, 2]}

MAPPED = {
    ("orders/create", "order.created"): (ORDER, "order/9007199254740993001"),
    ("orders/updated", "order.updated"): (ORDER, "order/9007199254740993001"),
    ("orders/paid", "order.paid"): (ORDER, "order/9007199254740993001"),
    ("orders/cancelled", "order.cancelled"): (
        ORDER | {"cancelled_at": "2026-11-23T20:00:01Z"},
        "order/9007199254740993001",
    ),
    ("orders/fulfilled", "order.fulfilled"): (ORDER, "order/9007199254740993001"),
    ("orders/delete", "order.deleted"): ({"id": 1}, "order/1"),
    ("checkouts/create", "checkout.started"): (CHECKOUT, "checkout/abc"),
    ("checkouts/update", "checkout.updated"): (CHECKOUT, "checkout/abc"),
    ("customers/create", "customer.created"): (PERSON, "customer/7"),
    ("customers/update", "customer.updated"): (PERSON, "customer/7"),
    ("customers/delete", "customer.deleted"): ({"id": 7}, "customer/7"),
    ("refunds/create", "refund.created"): (REFUND, "refund/21"),
    ("order_transactions/create", "payment.succeeded"): (MOVE | {"kind": "sale", "status": "success"}, "payment/31"),
    ("order_transactions/create", "payment.authorized"): (
        MOVE | {"kind": "authorization", "status": "success"},
        "payment/31",
    ),
    ("order_transactions/create", "payment.failed"): (MOVE | {"kind": "capture", "status": "failure"}, "payment/31"),
    ("order_transactions/create", "payment.pending"): (MOVE | {"kind": "sale", "status": "pending"}, "payment/31"),
    ("order_transactions/create", "payment.cancelled"): (MOVE | {"kind": "void", "status": "success"}, "payment/31"),
    ("disputes/create", "dispute.opened"): (DISPUTE | {"status": "needs_response"}, "dispute/41"),
    ("disputes/update", "dispute.updated"): (DISPUTE | {"status": "under_review"}, "dispute/41"),
    ("disputes/update", "dispute.closed"): (DISPUTE | {"status": "won"}, "dispute/41"),
    ("fulfillments/create", "fulfillment.created"): (PARCEL, "fulfillment/51"),
    ("fulfillments/update", "fulfillment.updated"): (PARCEL, "fulfillment/51"),
    ("fulfillments/update", "fulfillment.cancelled"): (PARCEL | {"status": "cancelled"}, "fulfillment/51"),
    ("fulfillment_events/create", "shipment.created"): (STEP | {"status": "label_printed"}, "shipment/51"),
    ("fulfillment_events/create", "shipment.in_transit"): (STEP | {"status": "in_transit"}, "shipment/51"),
    ("fulfillment_events/create", "shipment.delivered"): (STEP | {"status": "delivered"}, "shipment/51"),
    ("fulfillment_events/create", "shipment.exception"): (STEP | {"status": "failure"}, "shipment/51"),
    ("products/create", "product.created"): (PRODUCT, "product/71"),
    ("products/update", "product.updated"): (PRODUCT, "product/71"),
    ("products/delete", "product.deleted"): ({"id": 71}, "product/71"),
    ("inventory_levels/update", "inventory.level_changed"): (LEVEL, "inventory/81/82"),
    ("app/uninstalled", "app.uninstalled"): (SHOP, "shop/5"),
    ("customers/data_request", "customer.data_requested"): (ASKED, "customer/7"),
    ("customers/redact", "customer.redacted"): (ASKED, "customer/7"),
    ("shop/redact", "shop.redacted"): ({"shop_id": 5, "shop_domain": "teas.myshopify.com"}, "shop/5"),
}


@pytest.mark.parametrize(("names", "told_as"), MAPPED.items(), ids=[" ".join(names) for names in MAPPED])
def test_a_topic_has_its_event(names: tuple[str, str], told_as: tuple[dict[str, Any], str], validate: Any) -> None:
    event = told("shopify", told_as[0], names[0])
    assert (event.type, event.subject) == (names[1], told_as[1])
    assert "normalisation_error" not in origin_of(event)
    validate(event)


def test_a_refund_is_the_sum_of_what_went_back() -> None:
    data = data_of(told("shopify", REFUND, "refunds/create"))
    assert data["amount"] == {"amount": 1305, "currency": "GBP"}
    assert data["line_items"] == [{"id": "11", "sku": "TEA-1", "title": "Tea", "quantity": 1}]


def test_a_product_has_prices_where_the_source_knows_the_currency() -> None:
    source = a_source("shopify", currency="GBP")
    assert "price" not in data_of(told("shopify", PRODUCT, "products/update"))["variants"][0]
    priced = data_of(told("shopify", PRODUCT, "products/update", source))
    assert priced["variants"][0]["price"] == {"amount": 1305, "currency": "GBP"}


UNMAPPED = {
    "nobody mapped it": ("collections/update", {"id": 1}, "shopify.collections_update", None),
    "no topic": ("", {"foo": "bar"}, "shopify.unknown_topic", None),
    "a strange topic": ("Über Orders//v2!", {"id": 1}, "shopify.ber_orders_v2", None),
    "a long topic": ("x" * 300, {"id": 1}, "shopify." + "x" * 120, None),
    "no word for this status": (
        "fulfillment_events/create",
        STEP | {"status": "ready_for_pickup"},
        "shopify.fulfillment_events_create",
        None,
    ),
    "told by refunds/create": (
        "order_transactions/create",
        MOVE | {"kind": "refund", "status": "success"},
        "shopify.order_transactions_create",
        None,
    ),
    "an amount that is no number": (
        "orders/create",
        ORDER | {"total_price": "a lot"},
        "shopify.orders_create",
        "total: 'a lot' is no decimal amount",
    ),
    "an amount too fine": (
        "orders/create",
        YEN | {"total_price": "500.01"},
        "shopify.orders_create",
        "total: 500.01 has more than 0 decimals",
    ),
    "no id": ("customers/create", {"email": "x"}, "shopify.customers_create", "id: missing"),
    "another body than the topic says": ("orders/paid", PERSON, "shopify.orders_paid", "missing"),
    "a topic the body contradicts": (
        "orders/paid",
        ORDER | {"financial_status": "pending"},
        "shopify.orders_paid",
        "financial_status pending",
    ),
    "cancelled, but is not": ("orders/cancelled", ORDER, "shopify.orders_cancelled", "cancelled_at null"),
    "several currencies in one refund": (
        "refunds/create",
        REFUND
        | {
            "transactions": [
                {"kind": "refund", "status": "success", "amount": "1", "currency": c} for c in ("GBP", "EUR")
            ]
        },
        "shopify.refunds_create",
        "several currencies",
    ),
    "a list": ("orders/create", [1], "shopify.orders_create", "not an object"),
}


@pytest.mark.parametrize(("topic", "body", "event_type", "problem"), UNMAPPED.values(), ids=UNMAPPED.keys())
def test_what_has_no_exact_word_comes_in_as_it_is(topic: str, body: Any, event_type: str, problem: str | None) -> None:
    raw = b" " + json.dumps(body).encode() + b"\n"
    event = told("shopify", raw, topic)
    assert (event.type, event.data) == (event_type, raw.strip())
    assert event.raw is not None
    assert event.raw.body == raw
    assert (problem or "") in origin_of(event).get("normalisation_error", "")
    assert ("normalisation_error" in origin_of(event)) == bool(problem)


def test_origin_says_what_shopify_said() -> None:
    body = b'{"id":7}'
    headers = KIND.sign(SECRETS["shopify"], body, NOW, topic="customers/create", message_id="w-1")
    headers |= {"x-shopify-event-id": "e-1", "x-shopify-shop-domain": "teas.myshopify.com"}
    origin = origin_of(take(a_source("shopify"), a_request(body, headers)))
    assert origin == {
        "provider": "shopify",
        "topic": "customers/create",
        "webhook_id": "w-1",
        "event_id": "e-1",
        "shop_domain": "teas.myshopify.com",
        "triggered_at": to_rfc3339(NOW),
    }


def keys_of(body: bytes, topic: str, message_id: str) -> set[tuple[str, str]]:
    headers = KIND.sign(SECRETS["shopify"], body, NOW, topic=topic, message_id=message_id)
    return {(key.scope, key.key) for key in take(a_source("shopify"), a_request(body, headers)).keys}


def test_a_captured_body_is_a_repeat_whatever_delivery_id_it_claims() -> None:
    first = keys_of(b'{"id":7}', "customers/create", "w-1")
    assert first & keys_of(b'{"id":7}', "customers/create", "w-2")
    assert first & keys_of(b'{"id":8}', "customers/create", "w-1")
    assert not first & keys_of(b'{"id":7}', "customers/update", "w-2")
    assert not first & keys_of(b'{"id":8}', "customers/create", "w-2")
    assert len(keys_of(b'{"id":7}', "customers/create", "")) == 1


def test_the_events_family_of_headers_is_understood() -> None:
    body = b'{"id":7}'
    headers = KIND.sign(SECRETS["shopify"], body, NOW, topic="customers/create", message_id="w-1")
    events = {name.removeprefix("x-"): value for name, value in headers.items()}
    assert take(a_source("shopify"), a_request(body, events)).type == "customer.created"
    assert take(a_source("shopify"), a_request(body, headers | events)).type == "customer.created"
    with pytest.raises(BadSignature):  # the preferred family counts, even where the other would do
        take(a_source("shopify"), a_request(body, headers | {"shopify-hmac-sha256": "x"}))


SHOPS = {
    "as configured": ("teas.myshopify.com", "teas.myshopify.com", None, True),
    "in capitals": ("teas.myshopify.com", "Teas.MyShopify.com", None, True),
    "another shop": ("teas.myshopify.com", "other.myshopify.com", None, False),
    "no shop named": ("teas.myshopify.com", "", None, False),
    "the body names it": (None, "teas.myshopify.com", "teas.myshopify.com", True),
    "the body names another": (None, "other.myshopify.com", "teas.myshopify.com", False),
    "only the body names it": (None, "", "teas.myshopify.com", True),
    "the body names what is no name": (None, "teas.myshopify.com", ["x"], False),
}


@pytest.mark.parametrize(("configured", "header", "body_shop", "taken"), SHOPS.values(), ids=SHOPS.keys())
def test_the_unsigned_shop_is_checked(configured: str | None, header: str, body_shop: Any, taken: bool) -> None:
    source = a_source("shopify", **({"shop_domain": configured} if configured else {}))
    body = json.dumps({"shop_id": 5} | ({"shop_domain": body_shop} if body_shop else {})).encode()
    headers = KIND.sign(SECRETS["shopify"], body, NOW, topic="shop/redact", message_id="w")
    headers |= {"x-shopify-shop-domain": header}
    if taken:
        assert take(source, a_request(body, headers)).type == "shop.redacted"
        return
    with pytest.raises(BadSignature) as refused:
        take(source, a_request(body, headers))
    assert "shop" in refused.value.reason


BAD_CONFIGS = {
    "no secret": ({}, (), "secrets"),
    "empty secret": ({}, ("",), "secrets[0]"),
    "a blank with it": ({}, ("good", "bad\n"), "secrets[1]"),
    "too many": ({}, ("s",) * 11, "secrets"),
    "unknown field": ({"shop": "x"}, ("s",), "config"),
    "not a shop": ({"shop_domain": "https://teas.myshopify.com"}, ("s",), "config.shop_domain"),
    "not a currency": ({"currency": "pounds"}, ("s",), "config.currency"),
}


@pytest.mark.parametrize(("config", "secrets", "path"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_a_bad_config_names_the_field(config: dict[str, Any], secrets: tuple[str, ...], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        KIND.validate_config(config, secrets)
    assert refused.value.errors[0].path == path


def test_a_good_config_passes() -> None:
    KIND.validate_config({"shop_domain": "teas.myshopify.com", "currency": "GBP"}, ("one", "two"))
    assert KIND.config_schema


PROOFS = [(SECRETS["shopify"], '{"foo": "bär"}')] + [(v["secret"], v["body"]) for v in vectors("shopify")]


@pytest.mark.parametrize(("secret", "body"), PROOFS)
def test_no_byte_may_differ(secret: str, body: str) -> None:
    raw = body.encode()
    headers = KIND.sign(secret, raw, NOW)
    take(a_source("shopify", secret), a_request(raw, headers))
    forged = [(secret, raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :], headers) for i in range(len(raw))]
    forged += [(wrong, raw, headers) for wrong in flips(secret)]
    forged += [(secret, raw, {"x-shopify-hmac-sha256": w}) for w in flips(headers["x-shopify-hmac-sha256"])]
    for wrong_secret, wrong_body, wrong_headers in forged:
        with pytest.raises(BadSignature):
            take(a_source("shopify", wrong_secret), a_request(wrong_body, wrong_headers))


# Made with `openssl dgst -hmac`, not with our code.
VECTOR = {
    "header": "X-Shopify-Hmac-Sha256",
    "secret": "own-client-secret",
    "body": '{"foo":"bär"}',
    "expected": "B9Je3Zhc2cgacRPqItfyvBEJn67xTVTzPCp9vTLbNNE=",
}


@pytest.mark.parametrize("vector", [VECTOR, *vectors("shopify")])
def test_the_vectors_are_accepted(vector: dict[str, str]) -> None:
    headers = {vector["header"].lower(): vector["expected"]}
    source = a_source("shopify", "another", vector["secret"])
    assert take(source, a_request(vector["body"].encode(), headers)).type == "shopify.unknown_topic"
