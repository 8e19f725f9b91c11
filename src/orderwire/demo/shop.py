"""A day in a shop that sells tea: what Shopify, Stripe and the shop itself say of it, in the order it is sent.

Deterministic by seed. Each sale is a story; the first five are the same on every day, so that even a short one has
an order id beyond 2^53, a late update, a refund, a dispute, a cancellation, an abandoned checkout and a declined card.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from orderwire.clock import to_rfc3339
from orderwire.demo import shopify, stripe
from orderwire.demo.goods import CURRENCY, LOCATION_ID, MIDNIGHT, Sale, microseconds, new_sale
from orderwire.demo.steps import Step, Trick
from orderwire.demo.tricks import with_tricks

TILL_EVERY = 12  # one event in so many is a sale at the shop's own till


def day(events: int, seed: int = 7) -> tuple[Step, ...]:
    """About `events` events and the tricks among them, in the order they are sent."""
    random = Random(seed)  # noqa: S311 - the same day for the same seed is the point
    told: list[Step] = list(_own_day(random, events // TILL_EVERY))
    number = 0
    while len(told) < events or number < len(_CAST):
        story = _Story(random, new_sale(random, number))
        plot = _CAST[number] if number < len(_CAST) else random.choice(_REPERTOIRE)
        plot(story)
        told += story.steps
        number += 1
    return with_tricks(random, _unrepeated(sorted(told, key=lambda step: step.at)))


class _Story:
    """One sale as it goes on; `steps` is what was said of it."""

    def __init__(self, random: Random, sale: Sale) -> None:
        self.random = random
        self.sale = sale
        self.steps: list[Step] = []

    def wait(self, minutes: float, **changes: Any) -> "_Story":  # noqa: ANN401 - fields of Sale
        """Go on `minutes` later, with the sale changed."""
        self.sale = self.sale.later(minutes, **changes)
        return self

    def shopify(self, topic: str, body: dict[str, Any], type: str, subject: str) -> None:
        """Shopify says so."""
        message_id = str(UUID(int=self.random.getrandbits(128), version=4))
        self._say("shopify", topic, message_id, body, type, subject)

    def stripe(
        self,
        topic: str,
        about: dict[str, Any],
        type: str,
        subject: str,
        *,
        cents: int = 0,
        before: dict[str, Any] | None = None,
    ) -> None:
        """Stripe says so; `cents` where it moves money, `before` where it tells what changed."""
        event_id = f"evt_1S{self.random.getrandbits(88):022x}"
        body = stripe.event(event_id, topic, self.sale.at, about, before)
        self._say("stripe", topic, event_id, body, type, subject, cents)

    def order(self, topic: str, type: str) -> None:
        """Shopify says how the order stands."""
        self.shopify(topic, shopify.order(self.sale), type, f"order/{self.sale.id}")

    def payment(self, topic: str, status: str, type: str) -> None:
        """Stripe says how the payment stands."""
        about, subject = stripe.intent(self.sale, status), f"payment/{stripe.intent_id(self.sale)}"
        self.stripe(topic, about, type, subject, cents=self.sale.total)

    def _say(
        self,
        provider: str,
        topic: str,
        message_id: str,
        body: dict[str, Any],
        type: str,
        subject: str,
        cents: int = 0,
    ) -> None:
        self.steps.append(
            Step(
                provider=provider,
                topic=topic,
                message_id=message_id,
                body=msgspec.json.encode(body),
                type=type,
                subject=subject,
                time=self.sale.at,
                at=self.sale.at,
                cents=cents,
            )
        )


# -- scenes -------------------------------------------------------------------------------------------------------


def _come(story: _Story) -> None:
    """A customer comes and fills a cart."""
    sale, person = story.sale, story.sale.person
    story.shopify("customers/create", shopify.customer(person, sale.at), "customer.created", f"customer/{person.id}")
    story.wait(1)
    story.shopify("checkouts/create", shopify.checkout(story.sale), "checkout.started", f"checkout/{sale.token}")
    story.wait(3)
    story.shopify("checkouts/update", shopify.checkout(story.sale), "checkout.updated", f"checkout/{sale.token}")


def _buy(story: _Story) -> None:
    """The customer orders and pays; the stock goes down."""
    story.wait(2).payment("payment_intent.processing", "processing", "payment.pending")
    story.wait(0.5).order("orders/create", "order.created")
    story.wait(0.5).payment("payment_intent.succeeded", "succeeded", "payment.succeeded")
    story.wait(0.2, status="paid").order("orders/paid", "order.paid")
    for line in story.sale.lines:
        story.wait(0.2)
        body, subject = shopify.level(line, story.sale.at), f"inventory/{line.item_id}/{LOCATION_ID}"
        story.shopify("inventory_levels/update", body, "inventory.level_changed", subject)


def _send(story: _Story) -> None:
    """The parcel is packed, travels and arrives."""
    subject = f"fulfillment/{story.sale.id // 2 + 1}"
    story.wait(40, fulfilled=True)
    story.shopify("fulfillments/create", shopify.fulfillment(story.sale), "fulfillment.created", subject)
    story.wait(1).order("orders/fulfilled", "order.fulfilled")
    for minutes, status in ((30, "in_transit"), (120, "delivered")):
        story.wait(minutes)
        body, subject = shopify.parcel(story.sale, status), f"shipment/{story.sale.id // 2 + 1}"
        story.shopify("fulfillment_events/create", body, f"shipment.{status}", subject)


def _refund(story: _Story) -> None:
    """One article comes back. Both Shopify and Stripe tell of it."""
    line = story.sale.lines[0]
    story.wait(25, status="partially_refunded")
    back = shopify.refund(story.sale, line)
    story.shopify("refunds/create", back, "refund.created", f"refund/{back['id']}")
    story.wait(0.5)
    subject, about = f"refund/{stripe.refund_id(story.sale)}", stripe.charge(story.sale, line)
    story.stripe("charge.refunded", about, "refund.created", subject, cents=line.price, before={"amount_refunded": 0})


def _update(story: _Story) -> None:
    """Two changes of one order, of which the older comes later: providers keep no order."""
    story.wait(2, note="Por favor, deixar no café ao lado").order("orders/updated", "order.updated")
    story.wait(2, note="Afinal, tocar à campainha 🛎").order("orders/updated", "order.updated")
    older = story.steps[-2]
    story.steps[-2] = replace(older, at=older.at + timedelta(minutes=20), trick=Trick.LATE)


# -- stories ------------------------------------------------------------------------------------------------------


def _plain(story: _Story) -> None:
    _come(story)
    _buy(story)
    _send(story)


def _changed_and_refunded(story: _Story) -> None:
    _come(story)
    _buy(story)
    _update(story)
    _send(story)
    _refund(story)


def _disputed(story: _Story) -> None:
    _plain(story)
    subject = f"dispute/{stripe.dispute_id(story.sale)}"
    for minutes, topic, status, type in (
        (20, "charge.dispute.created", "needs_response", "dispute.opened"),
        (60, "charge.dispute.closed", "won", "dispute.closed"),
    ):
        story.wait(minutes)
        story.stripe(topic, stripe.dispute(story.sale, status), type, subject, cents=story.sale.total)


def _cancelled(story: _Story) -> None:
    _come(story)
    _buy(story)
    story.wait(10, cancelled=True).order("orders/cancelled", "order.cancelled")
    _refund(story)


def _declined(story: _Story) -> None:
    _come(story)
    story.wait(1).payment("payment_intent.payment_failed", "requires_payment_method", "payment.failed")
    _buy(story)


_CAST: tuple[Callable[[_Story], None], ...] = (_changed_and_refunded, _disputed, _cancelled, _come, _declined)
_REPERTOIRE = (_plain, _plain, _plain, _plain, _come, _come, _changed_and_refunded, _cancelled, _declined)


# -- what the shop says itself ------------------------------------------------------------------------------------


def _own_day(random: Random, sales: int) -> Iterable[Step]:
    """The door opens, sales at the till, the door closes: events of the shop's own making."""
    yield _own("shop-opened", "shop.opened", "shop/lisboa", 8, {"by": "Conceição", "float": {"EUR": 150_00}})
    for number in range(max(2, sales)):
        data = {"total": {"amount": random.randint(300, 9000), "currency": CURRENCY}, "receipt": number + 1}
        yield _own(f"till-{number + 1:05d}", "till.sale_completed", "till/1", random.uniform(8.5, 19), data)
    yield _own("shop-closed", "shop.closed", "shop/lisboa", 19.9, {"by": "João"})


def _own(id: str, type: str, subject: str, hour: float, data: dict[str, Any]) -> Step:
    at = MIDNIGHT + timedelta(seconds=round(hour * 3600))
    written = to_rfc3339(microseconds(at))
    body = msgspec.json.encode({"id": id, "type": type, "subject": subject, "time": written, "data": data})
    return Step(provider="own", topic=type, message_id=id, body=body, type=type, subject=subject, time=at, at=at)


def _unrepeated(steps: Iterable[Step]) -> list[Step]:
    """Without those whose very bytes were sent before: two equal stock levels in one second are one to Shopify."""
    return list({(step.topic, step.body): step for step in steps}.values())
