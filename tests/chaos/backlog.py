"""A hundred thousand waiting for an address that refuses, as many for one that never answers; a lane beside them."""

import asyncio
from time import monotonic

from tests.chaos.pace import paced
from tests.chaos.scenario import Run
from tests.kit.node import Node
from tests.kit.receiver import Play, Received
from tests.kit.shop import NEVER_AGAIN, Shop, opened

WAITING = 100_000
RATE, SECONDS = 200, 20
P99_MS_MAX = 100
REFUSING = "http://127.0.0.1:1/"


async def run(run: Run) -> None:
    """Another lane's p99 at 200 events a second stays below 100 ms beside either."""
    for kind in ("refusing", "silent"):
        folder = run.folder / kind
        folder.mkdir()
        with Node(folder) as node:
            async with opened(node) as shop:
                await _beside(run, shop, kind)
            run.note(**{f"{kind}_memory_mb": node.memory_peak_bytes() / 1e6})
            assert not node.unforeseen(), node.tail


async def _beside(run: Run, shop: Shop, kind: str) -> None:
    dead = await _dead_lane(shop, kind)
    alive = await shop.subscribe(events=["alive.*"])
    empty = await paced(shop, alive, "alive.one", per_second=RATE, seconds=5)
    began = monotonic()
    await shop.publish_all({"type": "dead.one", "data": {"n": n}} for n in range(WAITING))
    run.note(**{f"{kind}_publish_s": monotonic() - began})
    cpu_s, attempts = shop.node.cpu_s(), await _attempts(shop, dead)
    latency = await paced(shop, alive, "alive.one", per_second=RATE, seconds=SECONDS)
    spent = {
        f"{kind}_attempts_per_s": (await _attempts(shop, dead) - attempts) / SECONDS,
        f"{kind}_node_cpu_share": (shop.node.cpu_s() - cpu_s) / SECONDS,
    }
    waiting = shop.node.query(
        "SELECT count(*) FROM deliveries WHERE destination = ? AND status IN ('pending', 'retrying')", dead
    )[0][0]
    run.note(
        **{f"{kind}_waiting": waiting}, **spent, **empty.figures(f"{kind}_before"), **latency.figures(f"{kind}_beside")
    )
    assert waiting == WAITING, f"{WAITING - waiting} of the waiting are gone"
    assert latency.p99 < P99_MS_MAX, f"p99 beside a {kind} lane is {latency.p99:.0f} ms"


async def _attempts(shop: Shop, destination: str) -> int:
    stats = await shop.api.ask("GET", f"/v1/destinations/{destination}/stats")
    return int(stats["attempts"])


async def _dead_lane(shop: Shop, kind: str) -> str:
    if kind == "refusing":
        made = await shop.destination(REFUSING, events=["dead.*"], retry=NEVER_AGAIN)
        return str(made["id"])

    async def say_nothing(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    def behave(_: Received) -> Play:
        return say_nothing

    made_silent = await shop.subscribe(behave, events=["dead.*"], retry=NEVER_AGAIN)
    return made_silent.destination
