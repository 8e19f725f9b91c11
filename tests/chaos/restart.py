"""How soon a node with much behind it serves again after a kill -9, and after a SIGTERM."""

import asyncio
from time import monotonic

from tests.chaos.scenario import Run
from tests.kit.node import Node
from tests.kit.receiver import Reply
from tests.kit.shop import came, opened

WAITING = 100_000
READY_S_MAX = 10.0


async def run(run: Run) -> None:
    """Ready within ten seconds with a hundred thousand waiting, half of them due; then all of them come."""
    down = True
    with Node(run.folder) as node:
        async with opened(node) as shop:
            lane = await shop.subscribe(
                lambda _: Reply(503 if down else 204),
                events=["late.*"],
                retry={"schedule_s": [0, *[5] * 49]},
                concurrency=100,
            )
            alive = await shop.subscribe(events=["alive.*"])
            ids = await shop.publish_all({"type": "late.one", "data": {"n": n}} for n in range(WAITING))
            for number, (name, end) in enumerate((("kill_9", node.kill), ("sigterm", node.terminate)), 1):
                await asyncio.to_thread(end)
                ready_s = await asyncio.to_thread(node.start)
                began = monotonic()
                await shop.publish("alive.one")
                await came(alive, number)
                run.note(**{f"{name}_ready_s": ready_s, f"{name}_first_event_s": monotonic() - began})
                assert ready_s < READY_S_MAX, f"ready only after {ready_s:.1f} s"
            down, began = False, monotonic()
            await came(lane, len(ids), 240)
            run.note(waiting=len(ids), drained_per_s=len(ids) / (monotonic() - began), repeats=lane.repeats)
            await shop.api.ask("GET", "/readyz")
            assert set(lane.ids) == set(ids), "every waiting event came"
        assert node.integrity() == "ok"
        assert not node.unforeseen(), node.tail
