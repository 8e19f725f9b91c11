"""Playing the day: the node is told where things come from and go to, then every step is sent at its pace."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orderwire.clock import SECOND, SystemClock
from orderwire.demo.goods import SHOP
from orderwire.demo.node import Answer, Node
from orderwire.demo.receivers import RETRY_SCHEDULE_S, Receiver
from orderwire.demo.steps import Step, Trick
from orderwire.sources import shopify, stripe

DAY_S = 8.0  # a day takes about so long, unless that were more or fewer a second than these:
STEPS_PER_S_MIN, STEPS_PER_S_MAX = 35.0, 150.0
CONCURRENCY = 32  # of each destination: a slow receiver is only slow
STALE_S = 600
_SECRETS = {"shopify": "shpss_5d3c8a2f9b7e4d10", "stripe": "whsec_Zx81kQvT0pRm4uYh7Ls2"}
_FALSE_SECRET = "shpss_of_somebody_else"  # noqa: S105 - that is the point
_SENDING_MAX = 6


class Answered(NamedTuple):
    """One step and the status it was answered with."""

    step: Step
    status: int


@dataclass
class Stage:
    """What the node was told: where each provider sends to."""

    node: Node
    paths: dict[str, str] = field(default_factory=dict)


async def set_up(node: Node, receivers: Sequence[Receiver]) -> Stage:
    """Make the sources and destinations by the public API; each receiver gets its secret. Raises NodeError."""
    stage = Stage(node)
    for kind, config in (("shopify", {"shop_domain": SHOP}), ("stripe", {})):
        spec = {"kind": kind, "name": f"our {kind}", "secrets": [_SECRETS[kind]], "config": config}
        stage.paths[kind] = (await node.call("POST", "/v1/sources", spec))["ingest_path"]
    for receiver in receivers:
        made = await node.call(
            "POST",
            "/v1/destinations",
            {
                "kind": "webhook",
                "name": receiver.name,
                "events": list(receiver.wants),
                "config": {"url": f"http://127.0.0.1:{receiver.port}/webhooks"},
                "retry": {"schedule_s": list(RETRY_SCHEDULE_S)},
                "ordering": receiver.ordering,
                "concurrency": CONCURRENCY,
            },
        )
        receiver.destination = made["id"]
        receiver.secret = (await node.call("GET", f"/v1/destinations/{made['id']}/secret"))["secret"]
    return stage


async def play(stage: Stage, steps: Sequence[Step], told: Callable[[Answered], None]) -> list[Answered]:
    """Send every step, a pair of twins at the same moment. Raises NodeError where the node does not answer."""
    pause_s = 1 / min(STEPS_PER_S_MAX, max(STEPS_PER_S_MIN, len(steps) / DAY_S))
    sending = asyncio.Semaphore(_SENDING_MAX)
    answers: list[Answered] = []

    async def send(step: Step) -> None:
        async with sending:
            answer = await request(stage, step)
        answers.append(Answered(step, answer.status))
        told(answers[-1])

    loop = asyncio.get_running_loop()
    due = loop.time()
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                if step.trick is not Trick.TWIN:
                    due = max(due + pause_s, loop.time() - pause_s)
                    await asyncio.sleep(due - loop.time())
                    async with sending:
                        pass  # not further ahead than the node can follow
                group.create_task(send(step))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return answers


async def request(stage: Stage, step: Step) -> Answer:
    """Send one step as its provider would."""
    now_us = SystemClock().now() - (STALE_S * SECOND if step.trick is Trick.STALE else 0)
    signed = step.body if step.signed is None else step.signed
    if step.provider == "own":
        headers = stage.node.authorization | {"content-type": "application/json"}
        return await stage.node.ask("POST", "/v1/events", step.body, headers)
    if step.provider == "stripe":
        headers = stripe.sign(_SECRETS["stripe"], signed, now_us)
    else:
        secret = _FALSE_SECRET if step.trick is Trick.FORGED else _SECRETS["shopify"]
        headers = shopify.sign(secret, signed, now_us, topic=step.topic, message_id=step.message_id, shop=SHOP)
    return await stage.node.ask("POST", stage.paths[step.provider], step.body, headers)
