"""What goes wrong on a real day: providers repeat themselves, and somebody tries to slip something in."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from orderwire.demo.steps import Step, Trick

AGAIN_EVERY, AGAIN_AFTER = 25, 4  # one in so many is sent again, so many steps later
TWIN_EVERY = 60
BAD_EVERY, BAD_MAX = 150, 10  # one of each bad kind in so many; a node stops listening to more than 60 a minute


def with_tricks(random: Random, steps: Sequence[Step]) -> tuple[Step, ...]:
    """`steps` with repeats, pairs, forgeries and nonsense among them; those of `steps` all stay."""
    bad = _bad(random, steps)
    played: list[Step] = []
    owed: dict[int, Step] = {}
    for number, step in enumerate(steps):
        played.append(step)
        if number % TWIN_EVERY == TWIN_EVERY // 4:
            played.append(replace(step, trick=Trick.TWIN))
        if number % AGAIN_EVERY == AGAIN_EVERY // 3:
            owed[number + AGAIN_AFTER] = replace(step, trick=Trick.AGAIN)
        extras = (owed.pop(number, None), bad.get(number))
        played += [replace(extra, at=step.at) for extra in extras if extra is not None]
    return (*played, *owed.values())


def _bad(random: Random, steps: Sequence[Step]) -> dict[int, Step]:
    """What must be refused, by the step after which it is sent."""
    count = min(BAD_MAX, 1 + len(steps) // BAD_EVERY)
    shopify = [step for step in steps if step.topic == "orders/paid"]
    stripe = [step for step in steps if step.topic == "payment_intent.succeeded"]
    own = [step for step in steps if step.provider == "own"]
    made = [
        trick(random.choice(among))
        for _ in range(count)
        for trick, among in ((_forged, shopify), (_altered, shopify), (_stale, stripe), (_invalid, own))
    ]
    return dict(zip(random.sample(range(len(steps)), len(made)), made, strict=True))


def _forged(step: Step) -> Step:
    """An order said to be paid by somebody who does not know the secret."""
    return replace(step, body=_free_of_charge(step.body), message_id=f"f{step.message_id[1:]}", trick=Trick.FORGED)


def _altered(step: Step) -> Step:
    """Shopify's own signature, but the order was made cheaper on its way."""
    return replace(step, body=_free_of_charge(step.body), signed=step.body, trick=Trick.ALTERED)


def _stale(step: Step) -> Step:
    """A true webhook, recorded and played again later; under a new id, so that its age alone gives it away."""
    body = step.body.replace(step.message_id.encode(), f"evt_9S{step.message_id[6:]}".encode())
    return replace(step, body=body, trick=Trick.STALE)


def _invalid(step: Step) -> Step:
    """An own event whose type is none."""
    return replace(step, body=step.body.replace(step.type.encode(), b"Till Sale!"), trick=Trick.INVALID)


def _free_of_charge(body: bytes) -> bytes:
    start = body.index(b'"total_price":"') + len(b'"total_price":"')
    return body[:start] + b"0.01" + body[body.index(b'"', start) :]
