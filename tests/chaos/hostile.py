"""All hostile receivers at once, and the latency of an honest one beside them."""

import asyncio
from collections import Counter

from tests.chaos.pace import paced
from tests.chaos.scenario import Run
from tests.kit.hostile import HOSTILE
from tests.kit.node import Node
from tests.kit.shop import ONCE, opened

EVENTS = 40
RATE, SECONDS = 100, 15
P99_MS_MAX = 250  # two dozen floods on the same two cores; alone it is a few milliseconds


async def run(run: Run) -> None:
    """Each has its own outcome, every attempt ends, and the honest lane loses nothing and hardly waits."""
    with Node(run.folder) as node:
        async with opened(node) as shop:
            honest = await shop.subscribe(events=["good.*"])
            lanes = {
                name: await shop.subscribe(behaviour, events=["bad.*"], config={"timeout_s": 1}, retry=ONCE)
                for name, (behaviour, _) in HOSTILE.items()
            }
            alone = await paced(shop, honest, "good.one", per_second=RATE, seconds=3)
            await shop.publish_all({"type": "bad.one", "data": {"n": n}} for n in range(EVENTS))
            beside = await paced(shop, honest, "good.one", per_second=RATE, seconds=SECONDS)
            while await shop.unfinished():  # some asked to be left alone for a day
                for name in lanes:
                    if name.startswith("asks to wait"):
                        await shop.api.ask("POST", f"/v1/destinations/{lanes[name].destination}/activation")
                await asyncio.sleep(1)
            run.note(lanes=len(lanes), **alone.figures("alone"), **beside.figures("beside"))
            total: Counter[str] = Counter()
            for name, lane in lanes.items():
                stats = await shop.api.ask("GET", f"/v1/destinations/{lane.destination}/stats")
                total.update(stats["outcomes"])
                wrong = set(stats["outcomes"]) - HOSTILE[name][1]
                assert not wrong, f"who {name} was told {wrong}"
                assert stats["attempts"] == EVENTS, f"who {name}: {stats['attempts']} attempts of {EVENTS} ended"
            run.note(**{f"outcome_{name}": count for name, count in sorted(total.items())})
            assert beside.p99 < P99_MS_MAX, "no neighbour suffers"
        assert not node.unforeseen(), node.tail
