"""Does it add up? Pure.

What was sent, what the node says it did with it, and what the receivers have: three accounts of one day, kept apart
until here, that must agree to the last event.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from orderwire.clock import from_rfc3339
from orderwire.demo.goods import BIG_ORDER_ID, CURRENCY, FIRST_CUSTOMER, microseconds
from orderwire.demo.play import Answered
from orderwire.demo.receivers import Kept, Receiver, wanted
from orderwire.demo.steps import Fate, Step, Trick

# What the payments book counts, and under which word.
BOOK = {"payment.succeeded": "taken", "refund.created": "refunded", "dispute.opened": "disputed"}
SHOWN_MAX, SHOWN_CHARS_MAX = 3, 120  # of what is missing or too much
Fact = tuple[str, str | None]
T = TypeVar("T", Counter[Fact], set[str])


@dataclass(frozen=True)
class Account:
    """What the node says: its events (id -> type and subject, oldest first), its deliveries, its counters.

    `operational`: the types of events it published itself, which it does where something failed. `deliveries`: of
    each destination, event id -> (status, attempts). `attempts`: of each destination, as its statistics count them.
    """

    events: Mapping[str, Fact]
    deliveries: Mapping[str, Mapping[str, tuple[str, int]]]
    attempts: Mapping[str, int]
    duplicates: int
    operational: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One receiver's line of the table."""

    name: str
    nature: str
    expected: int
    delivered: int
    attempts: int
    retried: int
    repeats: int
    invalid: int

    @property
    def lost(self) -> int:
        """How many never came."""
        return self.expected - self.delivered


@dataclass
class Sums:
    """The tables' figures, and every sum that does not hold, in words."""

    sent: int
    accepted: int
    duplicates: int
    refused: Mapping[Trick, int]
    rows: list[Row] = field(default_factory=list)
    money: Mapping[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def hold(self, name: str, one: object, other: object) -> None:
        """`one` and `other` must be equal."""
        if one != other:
            self.broken.append(f"{name}: {str(one)[:SHOWN_CHARS_MAX]} against {str(other)[:SHOWN_CHARS_MAX]}")


def add_up(answers: Sequence[Answered], node: Account, receivers: Sequence[Receiver]) -> Sums:
    """The sums of one day."""
    steps = [answered.step for answered in answers]
    wanted_in = [step for step in steps if step.trick.fate is Fate.ACCEPTED]
    refused = Counter(answered.step.trick for answered in answers if answered.status >= 400)
    sums = Sums(len(answers), len(node.events), node.duplicates, refused)
    _door(sums, answers, node, wanted_in)
    for receiver in receivers:
        sums.rows.append(_row(sums, receiver, node, wanted_in))
    by_name = {receiver.name: receiver for receiver in receivers}
    _exactness(sums, by_name["analytics"])
    _newest(sums, by_name["inventory"], wanted_in)
    _order(sums, by_name["payments"], node)
    sums.money = _money(by_name["payments"].kept.values())
    sums.hold(f"payments: {CURRENCY} cents in the book and as sent", sums.money, _money_sent(wanted_in))
    return sums


def _door(sums: Sums, answers: Sequence[Answered], node: Account, expected: Sequence[Step]) -> None:
    """Every request met its fate, and the node's list is what was sent."""
    for step, status in answers:
        fate = step.trick.fate
        right = status == step.trick.status if fate is Fate.REFUSED else status in (200, 202)
        if not right:
            sums.broken.append(f"{step.topic} {step.message_id} ({step.trick}) was answered {status}")
    repeated = sum(answered.step.trick.fate is Fate.DUPLICATE for answered in answers)
    parts = sums.accepted + sums.duplicates + sum(sums.refused.values())
    sums.hold("requests sent, and accepted + duplicates + refused", sums.sent, parts)
    sums.hold("accepted, as the node lists its events and as they were sent", len(node.events), len(expected))
    sums.hold("duplicates, as the node counts them and as they were sent", node.duplicates, repeated)
    sums.hold("events that the node published because something failed", dict(node.operational), {})
    _same(sums, "what the node's events say and what was sent", Counter(node.events.values()), _facts(expected))


def _row(sums: Sums, receiver: Receiver, node: Account, steps: Sequence[Step]) -> Row:
    """One receiver got exactly what it wants: by the node's list, by its deliveries, and by what was sent."""
    name, deliveries = receiver.name, node.deliveries.get(receiver.name, {})
    by_node = {id for id, (type, _) in node.events.items() if wanted(receiver.wants, type)}
    by_demo = _facts(step for step in steps if wanted(receiver.wants, step.type))
    kept = Counter((one.type, one.subject) for one in receiver.kept.values())
    _same(sums, f"{name}: what it keeps and what was sent that it wants", kept, by_demo)
    _same(sums, f"{name}: its webhook-ids and the node's events that it wants", set(receiver.kept), by_node)
    _same(sums, f"{name}: the node's deliveries and its events that it wants", set(deliveries), by_node)
    undone = Counter(status for status, _ in deliveries.values() if status != "delivered")
    sums.hold(f"{name}: deliveries that are not delivered", dict(undone), {})
    attempts = sum(count for _, count in deliveries.values())
    sums.hold(f"{name}: attempts of its deliveries and requests that came", attempts, receiver.requests)
    sums.hold(f"{name}: attempts in its statistics and of its deliveries", node.attempts.get(name, 0), attempts)
    badly = receiver.rejected + receiver.cut
    sums.hold(f"{name}: attempts and delivered + badly answered", attempts, len(by_node) + badly)
    retried = sum(count > 1 for _, count in deliveries.values())
    sums.hold(f"{name}: deliveries retried, by the node and by the receiver", retried, receiver.retried)
    sums.hold(f"{name}: repeats and what it kept without being able to say so", receiver.repeats, receiver.cut)
    sums.hold(f"{name}: invalid signatures", receiver.invalid, 0)
    return Row(
        name,
        receiver.nature,
        by_demo.total(),
        len(receiver.kept),
        attempts,
        retried,
        receiver.repeats,
        receiver.invalid,
    )


def _exactness(sums: Sums, receiver: Receiver) -> None:
    """An id that no float holds and a name of many letters came through to the digit."""
    big = [one for one in receiver.kept.values() if one.type == "order.created" and one.data["id"] == str(BIG_ORDER_ID)]
    names = [one.data["customer"]["first_name"] for one in big]
    sums.hold(f"{receiver.name}: the customer of order {BIG_ORDER_ID}", names, [FIRST_CUSTOMER])


def _newest(sums: Sums, receiver: Receiver, steps: Sequence[Step]) -> None:
    """Whatever came late: whoever compares times knows how each order stood last."""
    known = _latest((one.subject, from_rfc3339(one.time)) for one in receiver.kept.values())
    sent = _latest((step.subject, microseconds(step.time)) for step in steps if wanted(receiver.wants, step.type))
    sums.hold(
        f"{receiver.name}: subjects whose newest state is not the one it knows", known.items() ^ sent.items(), set()
    )


def _order(sums: Sums, receiver: Receiver, node: Account) -> None:
    """One subject's events came in the order in which they were accepted."""
    accepted, came = defaultdict(list), defaultdict(list)
    for id, (type, subject) in node.events.items():
        if wanted(receiver.wants, type):
            accepted[subject].append(id)
    for id, kept in receiver.kept.items():
        came[kept.subject].append(id)
    sums.hold(f"{receiver.name}: subjects out of order", [one for one in accepted if accepted[one] != came[one]], [])


def _money(kept: Iterable[Kept]) -> dict[str, int]:
    """The payments book, in cents: Stripe's account of it, for Shopify tells the same refunds once more."""
    book = dict.fromkeys(BOOK.values(), 0)
    for one in kept:
        if one.type in BOOK and (one.type != "refund.created" or "payment_id" in one.data):
            book[BOOK[one.type]] += one.data["amount"]["amount"]
    return book


def _money_sent(steps: Iterable[Step]) -> dict[str, int]:
    book = dict.fromkeys(BOOK.values(), 0)
    for step in steps:
        if step.type in BOOK:
            book[BOOK[step.type]] += step.cents
    return book


def _latest(seen: Iterable[tuple[str | None, int]]) -> dict[str | None, int]:
    latest: dict[str | None, int] = {}
    for subject, at in seen:
        latest[subject] = max(at, latest.get(subject, 0))
    return latest


def _facts(steps: Iterable[Step]) -> Counter[Fact]:
    return Counter(step.fact for step in steps)


def _same(sums: Sums, name: str, one: T, other: T) -> None:
    """Two sets or two counters hold the same; else say what is missing and what is too much, a few of each."""
    missing, extra = sorted(map(str, other - one)), sorted(map(str, one - other))
    if missing or extra:
        lack, much = ", ".join(missing[:SHOWN_MAX]), ", ".join(extra[:SHOWN_MAX])
        sums.broken.append(f"{name}: {len(missing)} missing ({lack}), {len(extra)} too many ({much})")
