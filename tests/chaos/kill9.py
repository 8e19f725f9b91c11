"""kill -9 twenty times at random under load, between SQLite's commits and in them."""

import asyncio
from random import Random
from time import monotonic

from tests.chaos.scenario import Run
from tests.kit.load import Load, hold_order, hold_sums
from tests.kit.node import Node
from tests.kit.receiver import Received, Reply
from tests.kit.shop import opened

KILLS = 20


async def run(run: Run) -> None:
    """Every event answered 202 is received, in its subject's order; the database opens clean; nothing stays stuck."""
    moments, moods = Random(run.seed), Random(run.seed + 1)

    def moody(_: Received) -> Reply:
        return Reply(204 if moods.random() > 0.1 else 500, after_s=moods.random() * 0.02)

    restarts = []
    with Node(run.folder) as node:
        async with opened(node) as shop:
            lanes = [
                await shop.subscribe(moody, concurrency=40),
                await shop.subscribe(moody, ordering="subject", concurrency=40),
            ]
            async with Load(shop, run.seed, pause_s=0.01).running() as load:
                for _ in range(KILLS):
                    await asyncio.sleep(moments.uniform(0.02, 1.5))
                    node.kill()
                    restarts.append(await asyncio.to_thread(node.start))
                    assert node.integrity() == "ok", "the database opens clean"
            began = monotonic()
            await shop.settled(180)
            run.note(
                kills=KILLS,
                accepted=len(load.accepted),
                refused_503=load.refused,
                unanswered=load.unanswered,
                received=sum(len(set(lane.ids)) for lane in lanes),
                repeats=sum(lane.repeats for lane in lanes),
                start_max_s=max(restarts),
                drain_s=monotonic() - began,
            )
            for lane in lanes:
                hold_sums(load, lane)
            hold_order(load, lanes[1])
        statuses = node.statuses()
        assert set(statuses) == {"delivered"}, f"something did not end: {statuses}"
        assert not node.unforeseen(), node.tail
