"""Shopify's bodies in the demo: the fields and forms of its REST webhooks, filled with a sale of our shop.

Written by hand after shopify.dev/docs/api/webhooks: amounts are decimal texts, ids are whole numbers, instants carry
an offset. Whatever a body says is sent as UTF-8 JSON, as Shopify does.
"""

from datetime import datetime
from typing import Any

from orderwire.demo.goods import CURRENCY, LOCATION_ID, SHIPPING_CENTS, SHOP, Line, Person, Sale

Body = dict[str, Any]


def amount(cents: int) -> str:
    """`1290` -> `12.90`."""
    return f"{cents // 100}.{cents % 100:02d}"


def stamp(at: datetime) -> str:
    """`2026-11-20T10:41:07+00:00`."""
    return at.isoformat(timespec="seconds")


def customer(person: Person, at: datetime) -> Body:
    """`customers/create`."""
    return {
        "id": person.id,
        "created_at": stamp(at),
        "updated_at": stamp(at),
        "first_name": person.first,
        "last_name": person.last,
        "state": "enabled",
        "note": None,
        "verified_email": True,
        "tax_exempt": False,
        "email": person.email,
        "phone": None,
        "currency": CURRENCY,
        "default_address": {**_address(person), "customer_id": person.id, "default": True},
        "admin_graphql_api_id": f"gid://shopify/Customer/{person.id}",
    }


def checkout(sale: Sale) -> Body:
    """`checkouts/create`, `checkouts/update`."""
    return {
        "id": sale.id + 17,
        "token": sale.token,
        "cart_token": f"c1-{sale.token}",
        "name": f"#{sale.id + 17}",
        "created_at": stamp(sale.started),
        "updated_at": stamp(sale.at),
        "completed_at": None,
        "currency": CURRENCY,
        "presentment_currency": CURRENCY,
        "source_name": "web",
        "taxes_included": True,
        **_prices(sale),
        **_buyer(sale),
        "abandoned_checkout_url": f"https://{SHOP}/checkouts/cn/{sale.token}/recover",
        "line_items": [
            _line_item(line) | {"key": f"{line.id:x}", "line_price": amount(_sum(line))} for line in sale.lines
        ],
    }


def order(sale: Sale) -> Body:
    """`orders/create`, `orders/updated`, `orders/paid`, `orders/fulfilled`, `orders/cancelled`."""
    return {
        "id": sale.id,
        "admin_graphql_api_id": f"gid://shopify/Order/{sale.id}",
        "name": f"#{sale.number}",
        "number": sale.number - 1000,
        "order_number": sale.number,
        "token": sale.token,
        "checkout_token": sale.token,
        "cart_token": f"c1-{sale.token}",
        "created_at": stamp(sale.started),
        "updated_at": stamp(sale.at),
        "processed_at": stamp(sale.started),
        "cancelled_at": stamp(sale.at) if sale.cancelled else None,
        "cancel_reason": "customer" if sale.cancelled else None,
        "currency": CURRENCY,
        "presentment_currency": CURRENCY,
        "financial_status": sale.status,
        "fulfillment_status": "fulfilled" if sale.fulfilled else None,
        "note": sale.note,
        "tags": "tea",
        "test": False,
        "source_name": "web",
        "taxes_included": True,
        "payment_gateway_names": ["stripe"],
        "total_outstanding": amount(sale.total if sale.status == "pending" else 0),
        "total_shipping_price_set": _set(SHIPPING_CENTS),
        **_prices(sale),
        **_buyer(sale),
        "order_status_url": f"https://{SHOP}/orders/{sale.token}/authenticate",
        "line_items": [_line_item(line) for line in sale.lines],
    }


def refund(sale: Sale, line: Line) -> Body:
    """`refunds/create`: one of an article sent back, its money returned by the card's way."""
    return {
        "id": sale.id // 2 + 91,
        "order_id": sale.id,
        "created_at": stamp(sale.at),
        "processed_at": stamp(sale.at),
        "note": "A tampa chegou partida",
        "restock": True,
        "refund_line_items": [
            {
                "id": line.id + 1,
                "quantity": 1,
                "line_item_id": line.id,
                "location_id": LOCATION_ID,
                "restock_type": "return",
                "subtotal": line.price / 100,
                "subtotal_set": _set(line.price),
                "line_item": _line_item(line),
            }
        ],
        "transactions": [
            {
                "id": sale.id // 2 + 92,
                "order_id": sale.id,
                "kind": "refund",
                "status": "success",
                "gateway": "stripe",
                "amount": amount(line.price),
                "currency": CURRENCY,
            }
        ],
    }


def level(line: Line, at: datetime) -> Body:
    """`inventory_levels/update`."""
    return {
        "inventory_item_id": line.item_id,
        "location_id": LOCATION_ID,
        "available": line.left,
        "updated_at": stamp(at),
        "admin_graphql_api_id": f"gid://shopify/InventoryLevel/{LOCATION_ID}?inventory_item_id={line.item_id}",
    }


def fulfillment(sale: Sale) -> Body:
    """`fulfillments/create`: the parcel is packed."""
    return {
        "id": sale.id // 2 + 1,
        "order_id": sale.id,
        "name": f"#{sale.number}.1",
        "status": "success",
        "shipment_status": None,
        "location_id": LOCATION_ID,
        "created_at": stamp(sale.at),
        "updated_at": stamp(sale.at),
        "tracking_company": "CTT Expresso",
        "tracking_numbers": [f"DA{sale.number:09d}PT"],
        "tracking_urls": [f"https://tracking.example/DA{sale.number:09d}PT"],
        "destination": _address(sale.person),
        "line_items": [_line_item(line) for line in sale.lines],
    }


def parcel(sale: Sale, status: str) -> Body:
    """`fulfillment_events/create`: where the parcel is."""
    return {
        "id": sale.id // 2 + 2,
        "fulfillment_id": sale.id // 2 + 1,
        "order_id": sale.id,
        "status": status,
        "message": None,
        "happened_at": stamp(sale.at),
        "created_at": stamp(sale.at),
        "updated_at": stamp(sale.at),
        "city": sale.person.city,
        "country": sale.person.country,
        "zip": sale.person.postcode,
    }


def _sum(line: Line) -> int:
    return line.price * line.quantity


def _set(cents: int) -> Body:
    money = {"amount": amount(cents), "currency_code": CURRENCY}
    return {"shop_money": money, "presentment_money": money}


def _prices(sale: Sale) -> Body:
    return {
        "total_price": amount(sale.total),
        "subtotal_price": amount(sale.subtotal),
        "total_line_items_price": amount(sale.subtotal),
        "total_discounts": "0.00",
        "total_tax": amount(sale.tax),
        "tax_lines": [{"title": "IVA", "price": amount(sale.tax), "rate": 0.23}],
    }


def _buyer(sale: Sale) -> Body:
    address = _address(sale.person)
    return {
        "email": sale.person.email,
        "contact_email": sale.person.email,
        "phone": None,
        "customer": customer(sale.person, sale.started),
        "billing_address": address,
        "shipping_address": address,
    }


def _address(person: Person) -> Body:
    return {
        "first_name": person.first,
        "last_name": person.last,
        "name": f"{person.first} {person.last}",
        "address1": "Rua do Chá 7, 2.º Esq.",
        "address2": None,
        "city": person.city,
        "province": None,
        "zip": person.postcode,
        "country_code": person.country,
        "phone": None,
    }


def _line_item(line: Line) -> Body:
    return {
        "id": line.id,
        "product_id": line.product_id,
        "variant_id": line.product_id + 1,
        "sku": line.sku,
        "title": line.title,
        "name": line.title,
        "variant_title": None,
        "quantity": line.quantity,
        "price": amount(line.price),
        "total_discount": "0.00",
        "requires_shipping": True,
        "taxable": True,
    }
