"""Publishers that keep their books while the node they publish to comes and goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from tests.kit.http import Answer
from tests.kit.receiver import Endpoint
from tests.kit.shop import Shop

PAUSE_S = 0.02  # after a refusal, before the publisher's next event
SUBJECTS = 40


class Load:
    """Publishes numbered events (`data.n`) from several publishers at once until told to stop.

    `accepted`: number -> the event id that a 202 named. What was not answered may or may not have been kept.
    """

    def __init__(self, shop: Shop, seed: int, *, publishers: int = 8, pause_s: float = 0.0, pad_bytes: int = 0) -> None:
        self.accepted: dict[int, str] = {}
        self.subjects: dict[int, str] = {}
        self.refused = self.unanswered = 0
        self._shop = shop
        self._random = Random(seed)
        self._publishers = publishers
        self._pause_s = pause_s
        self._pad = "x" * pad_bytes
        self._next = 0
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Publish for the length of the block, then until the last answer."""
        tasks = [asyncio.create_task(self._publish_on()) for _ in range(self._publishers)]
        try:
            yield self
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _publish_on(self) -> None:
        while not self._stopping:
            try:
                answer = await self._publish()
            except OSError:
                self.unanswered += 1
                await asyncio.sleep(PAUSE_S)
                continue
            if answer.status != 202:
                assert answer.status == 503, answer
                assert int(answer.headers["retry-after"]) > 0
                self.refused += 1
                await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(self._pause_s)

    async def _publish(self) -> Answer:
        """One event, or every fourth time a batch of five; every second with an id of its own."""
        api = self._shop.api
        if self._random.random() < 0.25:
            events = [self._event() for _ in range(5)]
            answer = await api.call("POST", "/v1/events/batch", {"events": events})
            rows = answer.json["data"] if answer.status == 202 else []
        else:
            events = [self._event()]
            answer = await api.call("POST", "/v1/events", events[0])
            rows = [answer.json] if answer.status == 202 else []
        for event, row in zip(events, rows, strict=False):
            assert row["id"] == event.get("id", row["id"])
            self.accepted[event["data"]["n"]] = row["id"]
        return answer

    def _event(self) -> dict[str, Any]:
        self._next += 1
        number = self._next
        self.subjects[number] = f"order/{self._random.randrange(SUBJECTS)}"
        event = {"type": "order.created", "subject": self.subjects[number], "data": {"n": number, "pad": self._pad}}
        return event | ({"id": f"own-{number}"} if number % 2 else {})


def hold_sums(load: Load, endpoint: Endpoint) -> None:
    """All accepted came; one number never came under two ids, nor one id with two bodies."""
    missing = set(load.accepted.values()) - set(endpoint.ids)
    assert not missing, f"{len(missing)} of {len(load.accepted)} accepted events never came"
    bodies: dict[str, bytes] = {}
    numbers: dict[int, str] = {}
    for webhook in endpoint.webhooks:
        assert bodies.setdefault(webhook.id, webhook.body) == webhook.body
        assert numbers.setdefault(webhook.data["n"], webhook.id) == webhook.id


def hold_order(load: Load, endpoint: Endpoint) -> None:
    """No webhook of a subject first comes after a later one of that subject was taken."""
    position = {event: place for place, event in enumerate(dict.fromkeys(endpoint.ids))}
    accepted_at = {webhook.id: webhook.json["timestamp"] for webhook in endpoint.webhooks}
    by_subject: dict[str, list[str]] = {}
    for number, event in load.accepted.items():
        by_subject.setdefault(load.subjects[number], []).append(event)
    for events in by_subject.values():
        events.sort(key=position.__getitem__)
        times = [accepted_at[event] for event in events]
        assert times == sorted(times)
