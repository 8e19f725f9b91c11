"""Latency from publish to receive at a fixed rate. An event's clock starts when it was due, not when it was sent."""

import asyncio
from dataclasses import dataclass
from time import monotonic

from tests.kit.receiver import Endpoint
from tests.kit.shop import Shop, came


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    count: int
    p50: float
    p99: float
    highest: float

    def figures(self, prefix: str) -> dict[str, float]:
        """For a run's notes."""
        return {f"{prefix}_p50_ms": self.p50, f"{prefix}_p99_ms": self.p99, f"{prefix}_max_ms": self.highest}


async def paced(shop: Shop, endpoint: Endpoint, event_type: str, *, per_second: int, seconds: float) -> Latency:
    """Publish on schedule, each event a request of its own; every one must come, once."""
    began, seen = monotonic() + 0.1, len(endpoint.webhooks)
    count = int(per_second * seconds)
    due = {number: began + number / per_second for number in range(count)}
    publishing = set()
    for number, at in due.items():
        await asyncio.sleep(max(0.0, at - monotonic()))
        publishing.add(asyncio.create_task(shop.publish(event_type, {"n": number})))
    answers = await asyncio.gather(*publishing)
    await came(endpoint, seen + count)
    webhooks = endpoint.webhooks[seen:]
    assert sorted(webhook.id for webhook in webhooks) == sorted(answer["id"] for answer in answers), "each once"
    waits = sorted((webhook.at - due[webhook.data["n"]]) * 1000 for webhook in webhooks)
    return Latency(count, waits[count // 2], waits[int(count * 0.99)], waits[-1])
