"""Shopify: Admin webhooks (`X-Shopify-*`) and the developer preview Events (`shopify-*`).

HMAC-SHA256 over the raw body alone: topic, shop and ids are unsigned headers and there is no timestamp. So a body is
let in once per topic in 90 days, the shop is checked against the config and the body, and a topic that the body
contradicts is not believed. COMMERCE.md 1.1, 1.2; shopify.dev/docs/apps/build/webhooks.
"""

from typing import Annotated, Any

import msgspec

from orderwire.clock import to_rfc3339
from orderwire.model import Source
from orderwire.sources import recipes
from orderwire.sources.base import BadSignature, InboundRequest, Notice, SourceKind, body_seen_once, seen_once
from orderwire.sources.mapping import tell
from orderwire.sources.picks import first
from orderwire.sources.shopify.facts import FACTS

ORIGIN_HEADERS = (
    "webhook-id",
    "event-id",
    "shop-domain",
    "api-version",
    "triggered-at",
    "name",
    "action",
    "resource-id",
)


class ShopifyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both optional: the shop this source is for, and its currency (product bodies name none)."""

    shop_domain: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*\.myshopify\.com$")] | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] | None = None


def _header(request: InboundRequest, name: str) -> str | None:
    return request.header(f"shopify-{name}", f"x-shopify-{name}")


def _verify(source: Source, request: InboundRequest, now_us: int) -> None:
    recipes.verify(recipes.SHOPIFY, source.secrets, request, now_us)


def _check_shop(source: Source, request: InboundRequest, document: Any) -> None:
    """The header is unsigned: it must be the configured shop, and the body's where that says one."""
    bound, told = source.config.get("shop_domain"), first(document, "shop_domain", "myshopify_domain")
    named = _header(request, "shop-domain")
    shops = {str(shop).lower() for shop in (bound, told, named) if shop}
    if len(shops) > 1 or (bound and not named):
        raise BadSignature("the shop of the header, of the body and of the config are not one")


def _notices(source: Source, request: InboundRequest, document: Any, now_us: int) -> tuple[Notice, ...]:
    _check_shop(source, request, document)
    topic = _header(request, "topic") or ""
    notice = tell("shopify", topic, FACTS.get(topic), document, request.body, source.config.get("currency"))
    origin = {name.replace("-", "_"): _header(request, name) for name in ORIGIN_HEADERS}
    keys = [body_seen_once(source, topic, request.body, now_us)]
    if origin["webhook_id"]:
        keys.append(seen_once(source, "webhook_id", origin["webhook_id"], now_us))
    return (msgspec.structs.replace(notice, origin=notice.origin | origin, keys=tuple(keys)),)


def sign(
    secret: str, body: bytes, now_us: int, *, topic: str = "", message_id: str = "", shop: str = ""
) -> dict[str, str]:
    """All headers of a true delivery of `body` by Shopify."""
    headers = {
        "content-type": "application/json",
        "x-shopify-hmac-sha256": recipes.signature(recipes.SHOPIFY, secret, body),
        "x-shopify-topic": topic,
        "x-shopify-shop-domain": shop,
        "x-shopify-webhook-id": message_id,
        "x-shopify-triggered-at": to_rfc3339(now_us),
    }
    return {name: value for name, value in headers.items() if value}


KIND = SourceKind(
    kind="shopify",
    title="Shopify",
    config=ShopifyConfig,
    secret_hint="the app's client secret, or the signing secret shown under Settings, Notifications, Webhooks",  # noqa: S106
    check_secret=lambda _: None,
    verify=_verify,
    notices=_notices,
    sign=sign,
)
