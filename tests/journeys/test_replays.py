"""Sending again: in bulk, by hand, event by event; each exactly what was asked, and nothing of the schedule is lost."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from tests.kit.receiver import Endpoint, Reply, always
from tests.kit.shop import NEVER_AGAIN, ONCE, Shop, came, quiet, until

LONG_AGO = "2026-01-01T00:00:00Z"
MANY = 1000


async def test_a_bulk_replay_sends_a_thousand_failed_events_again_each_exactly_once(shop: Shop) -> None:
    # A fifth of them is taken, or the breaker would let the others through one by one.
    endpoint = await shop.subscribe(lambda webhook: Reply(500 if webhook.data % 5 else 204), retry=ONCE, concurrency=50)
    every = await shop.publish_all({"data": n} for n in range(MANY * 5 // 4))
    await shop.settled()
    ids = [event for n, event in enumerate(every) if n % 5]
    assert await shop.statuses() == {"failed": MANY, "delivered": len(every) - MANY}
    endpoint.behaviour = always(204)
    endpoint.webhooks.clear()
    await shop.api.ask("POST", f"/v1/destinations/{endpoint.destination}/activation")
    path = f"/v1/destinations/{endpoint.destination}/replays"
    jobs = await asyncio.gather(*(shop.api.ask("POST", path, {"since": LONG_AGO}) for _ in range(2)))
    assert max(job["count"] for job in jobs) == MANY
    await came(endpoint, MANY)
    await shop.settled()
    await quiet(endpoint, 0.3)
    assert Counter(endpoint.ids) == dict.fromkeys(ids, 1)
    assert await shop.statuses() == {"failed": MANY, "delivered": len(every)}
    again = await shop.api.ask("POST", path, {"since": LONG_AGO})
    assert again["count"] == 0  # the latest delivery of each is delivered
    await quiet(endpoint, 0.3)
    assert len(endpoint.webhooks) == MANY


async def test_a_bulk_replay_takes_only_what_is_asked(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), retry=ONCE)
    before = await shop.publish_all({"type": "order.created", "data": n} for n in range(20))
    await shop.settled()
    await asyncio.sleep(0.01)
    middle = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.01)
    paid = await shop.publish_all({"type": "order.paid", "data": n} for n in range(10))
    await shop.settled()
    endpoint.behaviour = always(204)
    endpoint.webhooks.clear()
    path = f"/v1/destinations/{endpoint.destination}/replays"
    await shop.api.ask("POST", path, {"since": LONG_AGO, "types": ["order.paid"]})
    await came(endpoint, len(paid))
    await shop.settled()
    assert sorted(endpoint.ids) == sorted(paid)
    await shop.api.ask("POST", path, {"since": LONG_AGO, "until": middle, "status": "any", "force": True})
    await came(endpoint, len(paid) + len(before))
    await shop.settled()
    await quiet(endpoint, 0.2)
    assert sorted(endpoint.ids) == sorted([*paid, *before])


async def test_an_event_is_replayed_under_its_own_id(shop: Shop) -> None:
    one, other = await shop.subscribe(), await shop.subscribe()
    event = await shop.publish(data={"n": 1})
    await shop.settled()
    answer = await shop.api.ask("POST", f"/v1/events/{event['id']}/replays", {"destination": one.destination})
    assert answer["count"] == 1
    await shop.settled()
    assert await shop.api.ask("POST", f"/v1/events/{event['id']}/replays")
    await shop.settled()
    assert one.ids == [event["id"]] * 3
    assert other.ids == [event["id"]] * 2
    assert len({webhook.body for webhook in (*one.webhooks, *other.webhooks)}) == 1
    unknown = await shop.api.call("POST", f"/v1/events/{event['id']}/replays", {"destination": "dst_none"})
    assert unknown.status == 422


async def test_a_failed_manual_retry_leaves_status_and_schedule_as_they_were(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), retry={"schedule_s": [0, 1.5, 0.1, 0.1]})
    event = await shop.publish()
    before = await shop.in_state(event["id"], "retrying")
    for count in (2, 3):
        await shop.api.ask("POST", f"/v1/deliveries/{before['id']}/retries")
        await _attempted(shop, before["id"], count)
        after = await shop.delivery(event["id"])
        assert (after["status"], after["reason"]) == (before["status"], before["reason"])
        assert after["next_attempt_at"] == before["next_attempt_at"]
    end = await shop.finished(event["id"])
    assert (end["status"], end["attempt_count"]) == ("failed", 6)
    attempts = await shop.attempts(before["id"])
    assert [attempt["manual"] for attempt in attempts] == [False, True, True, False, False, False]
    assert attempts[3]["started_at"] >= before["next_attempt_at"]
    assert len(endpoint.webhooks) == 6


async def test_a_manual_retry_of_what_failed_for_good_may_fail_again_and_may_deliver(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), retry=ONCE)
    watcher = await shop.subscribe(events=["orderwire.delivery.failed"])
    event = await shop.publish()
    failed = await shop.finished(event["id"], endpoint)
    await shop.api.ask("POST", f"/v1/deliveries/{failed['id']}/retries")
    await _attempted(shop, failed["id"], 2)
    after = await shop.delivery(event["id"], endpoint)
    assert (after["status"], after["reason"], after["next_attempt_at"]) == ("failed", "exhausted", None)
    endpoint.behaviour = always(204)
    await shop.api.ask("POST", f"/v1/deliveries/{failed['id']}/retries")
    end = await shop.in_state(event["id"], "delivered", endpoint=endpoint)
    assert (end["id"], end["attempt_count"], end["reason"]) == (failed["id"], 3, None)
    assert endpoint.ids == [event["id"]] * 3
    await quiet(watcher, 0.2)
    assert len(watcher.webhooks) == 1  # told once, when the schedule was used up


async def test_a_manual_retry_that_succeeds_ends_the_schedule(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), retry={"schedule_s": [0, 0.6, 0.6]})
    event = await shop.publish()
    waiting = await shop.in_state(event["id"], "retrying")
    endpoint.behaviour = always(204)
    await shop.api.ask("POST", f"/v1/deliveries/{waiting['id']}/retries")
    await shop.in_state(event["id"], "delivered")
    await asyncio.sleep(1)
    assert len(endpoint.webhooks) == 2


async def test_many_manual_retries_at_once_are_one_attempt_at_a_time(shop: Shop) -> None:
    endpoint = await shop.subscribe(lambda _: Reply(500, after_s=0.1), retry=NEVER_AGAIN)
    event = await shop.publish()
    waiting = await shop.in_state(event["id"], "retrying")
    path = f"/v1/deliveries/{waiting['id']}/retries"
    await asyncio.gather(*(shop.api.ask("POST", path) for _ in range(20)))
    await _attempted(shop, waiting["id"], 2)
    await quiet(endpoint, 0.4)
    assert endpoint.in_flight_max == 1
    assert len(endpoint.webhooks) <= 3  # those asked for while one was on the wire are one more
    attempts = await shop.attempts(waiting["id"])
    assert [attempt["number"] for attempt in attempts] == list(range(1, len(endpoint.webhooks) + 1))


async def test_a_cancelled_delivery_is_not_sent_even_if_it_waited_in_memory(shop: Shop) -> None:
    endpoint = await shop.subscribe(rate_limit={"per_second": 4, "burst": 1})
    ids = await shop.publish_all({"data": n} for n in range(5))
    last = await shop.delivery(ids[-1])
    cancelled = await shop.api.ask("POST", f"/v1/deliveries/{last['id']}/cancellation")
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "cancelled_by_hand")
    await shop.settled()
    await quiet(endpoint, 0.5)
    assert sorted(endpoint.ids) == sorted(ids[:-1])
    assert await shop.statuses() == {"delivered": 4, "cancelled": 1}
    again = await shop.api.call("POST", f"/v1/deliveries/{last['id']}/cancellation")
    assert again.status == 200
    delivered = await shop.delivery(ids[0])
    refused = await shop.api.call("POST", f"/v1/deliveries/{delivered['id']}/cancellation")
    assert refused.status == 409


async def test_a_cancelled_retry_never_comes(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), retry={"schedule_s": [0, 0.4, 0.4]})
    event = await shop.publish()
    waiting = await shop.in_state(event["id"], "retrying")
    await shop.api.ask("POST", f"/v1/deliveries/{waiting['id']}/cancellation")
    await asyncio.sleep(0.8)
    assert len(endpoint.webhooks) == 1
    end = await shop.delivery(event["id"])
    assert (end["status"], end["next_attempt_at"]) == ("cancelled", None)


async def _attempted(shop: Shop, delivery_id: str, times: int) -> None:
    async def enough() -> bool:
        return len(await shop.attempts(delivery_id)) >= times

    await until(enough)


async def test_a_retry_of_a_deleted_destination_is_a_conflict(shop: Shop) -> None:
    endpoint: Endpoint = await shop.subscribe(always(500), retry=ONCE)
    failed = await shop.finished((await shop.publish())["id"])
    await shop.api.ask("DELETE", f"/v1/destinations/{endpoint.destination}")
    answer = await shop.api.call("POST", f"/v1/deliveries/{failed['id']}/retries")
    assert answer.status == 409
