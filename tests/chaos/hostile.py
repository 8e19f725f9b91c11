"""All hostile receivers at once, and the latency of an honest one beside them."""

import asyncio
from collections import Counter

from tests.chaos.crowd import crowd
from tests.chaos.pace import paced
from tests.chaos.scenario import Run
from tests.kit.hostile import HOSTILE
from tests.kit.node import Node
from tests.kit.shop import ONCE, Shop, opened

EVENTS = 40
RATE, SECONDS = 100, 15
P99_MS_MAX = 250  # a crowd that floods takes its share of two cores; alone it is a few milliseconds


async def run(run: Run) -> None:
    """Each has its own outcome, every attempt ends, and the honest lane loses nothing and hardly waits."""
    with Node(run.folder) as node:
        async with opened(node) as shop, crowd() as urls:
            honest = await shop.subscribe(events=["good.*"])
            lanes = {name: await _lane(shop, url) for name, url in urls.items()}
            alone = await paced(shop, honest, "good.one", per_second=RATE, seconds=5)
            await shop.publish_all({"type": "bad.one", "data": {"n": n}} for n in range(EVENTS))
            beside = await paced(shop, honest, "good.one", per_second=RATE, seconds=SECONDS)
            run.note(lanes=len(lanes), **alone.figures("alone"), **beside.figures("beside"))
            while await shop.unfinished():  # some asked to be left alone for a day
                for name, lane in lanes.items():
                    if name.startswith("asks to wait"):
                        await shop.api.ask("POST", f"/v1/destinations/{lane}/activation")
                await asyncio.sleep(1)
            await _hold_outcomes(run, shop, lanes)
            assert beside.p99 < P99_MS_MAX, f"the neighbour's p99 is {beside.p99:.0f} ms"
        assert not node.unforeseen(), node.tail


async def _lane(shop: Shop, url: str) -> str:
    made = await shop.destination(url, events=["bad.*"], config={"timeout_s": 1}, retry=ONCE)
    return str(made["id"])


async def _hold_outcomes(run: Run, shop: Shop, lanes: dict[str, str]) -> None:
    total: Counter[str] = Counter()
    for name, lane in lanes.items():
        stats = await shop.api.ask("GET", f"/v1/destinations/{lane}/stats")
        total.update(stats["outcomes"])
        # On cores this busy the second a receiver is given may be over first.
        wrong = set(stats["outcomes"]) - HOSTILE[name][1] - {"timeout"}
        assert not wrong, f"who {name} was told {wrong}"
        assert stats["attempts"] == EVENTS, f"who {name}: {stats['attempts']} attempts of {EVENTS} ended"
    run.note(**{f"outcome_{name}": count for name, count in sorted(total.items())})
