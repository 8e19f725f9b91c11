"""Two hundred thousand events to a lane that takes none: they wait on disk, not in memory."""

from time import monotonic

from tests.chaos.backlog import REFUSING
from tests.chaos.scenario import Run
from tests.kit.node import Node
from tests.kit.shop import NEVER_AGAIN, came, opened

EVENTS = 200_000
PAD_BYTES = 500
MEMORY_MB_MAX = 300


async def run(run: Run) -> None:
    """The node's memory stays below 300 MB, and another lane is served at once."""
    with Node(run.folder) as node:
        async with opened(node) as shop:
            await shop.destination(REFUSING, events=["dead.*"], retry=NEVER_AGAIN)
            alive = await shop.subscribe(events=["alive.*"])
            before, began = node.memory_bytes(), monotonic()
            for start in range(0, EVENTS, 10_000):
                pad = "x" * PAD_BYTES
                await shop.publish_all(
                    {"type": "dead.one", "subject": f"order/{n}", "data": {"n": n, "pad": pad}}
                    for n in range(start, start + 10_000)
                )
            seconds = monotonic() - began
            await shop.publish("alive.one")
            await came(alive, 1)
        waiting = sum(count for status, count in node.statuses().items() if status in ("pending", "retrying"))
        peak_mb = node.memory_peak_bytes() / 1e6
        run.note(
            events=EVENTS,
            events_per_s=EVENTS / seconds,
            waiting=waiting,
            memory_before_mb=before / 1e6,
            memory_after_mb=node.memory_bytes() / 1e6,
            memory_peak_mb=peak_mb,
        )
        assert waiting == EVENTS, f"{EVENTS - waiting} events are gone"
        assert peak_mb < MEMORY_MB_MAX, f"{peak_mb:.0f} MB is too much"
        assert not node.unforeseen(), node.tail
