"""`ordering: "subject"`: one subject's events one at a time and in acceptance order; other subjects do not wait."""

import asyncio
from random import Random

from tests.kit.receiver import Endpoint, Play, Received, Reply, always
from tests.kit.shop import NEVER_AGAIN, ONCE, Shop, came, quiet, until

SEED = 20_261_123
SUBJECTS = EVENTS = 20
PATIENT = {"schedule_s": [0, *[0.02] * 49]}


async def test_twenty_subjects_keep_their_order_while_their_receiver_fails_at_random(shop: Shop) -> None:
    moods = Random(SEED)

    def moody(_: Received) -> Reply:
        return Reply(204 if moods.random() > 0.3 else 500, after_s=moods.random() * 0.01)

    endpoint = await shop.subscribe(moody, ordering="subject", concurrency=100, retry=PATIENT)
    events = [{"subject": f"order/{n % SUBJECTS}", "data": {"n": n}} for n in range(SUBJECTS * EVENTS)]
    half = len(events) // 2
    ids = await shop.publish_all(events[:half])
    ids += [
        (await shop.api.ask("POST", "/v1/events", {"type": "order.created", **event}))["id"] for event in events[half:]
    ]
    await shop.settled()
    assert set(endpoint.ids) == set(ids)
    assert endpoint.overlaps == 0
    assert endpoint.in_flight_max > 1
    assert _order(endpoint) == {f"order/{s}": list(range(s, len(events), SUBJECTS)) for s in range(SUBJECTS)}
    assert await shop.statuses() == {"delivered": len(events)}


async def test_a_stuck_subject_holds_up_nobody_else(shop: Shop) -> None:
    endpoint = await shop.subscribe(
        lambda webhook: Reply(500 if webhook.subject == "order/stuck" else 204), ordering="subject", retry=NEVER_AGAIN
    )
    stuck = [{"subject": "order/stuck", "data": n} for n in range(5)]
    free = [{"subject": f"order/{n % 10}", "data": n} for n in range(100)]
    no_subject = [{"data": n} for n in range(20)]
    ids = await shop.publish_all(stuck + free + no_subject)
    await came(endpoint, 1 + len(free) + len(no_subject))
    await quiet(endpoint, 0.2)
    assert set(endpoint.ids) == {ids[0], *ids[5:]}
    assert await shop.statuses() == {"retrying": 1, "pending": 4, "delivered": 120}


async def test_an_exhausted_head_lets_the_next_go(shop: Shop) -> None:
    endpoint = await shop.subscribe(
        lambda webhook: Reply(500 if webhook.data % 3 == 0 else 204), ordering="subject", retry=ONCE
    )
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(9))
    await shop.settled()
    assert endpoint.ids == ids
    assert await shop.statuses() == {"failed": 3, "delivered": 6}


async def test_an_exhausted_head_holds_where_that_is_asked_until_somebody_decides(shop: Shop) -> None:
    endpoint = await shop.subscribe(
        lambda webhook: Reply(500 if webhook.data == 0 else 204), ordering="subject", on_exhausted="hold", retry=ONCE
    )
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(3))
    head = await shop.finished(ids[0])
    assert (head["status"], head["reason"]) == ("failed", "exhausted")
    await quiet(endpoint, 0.2)
    assert endpoint.ids == ids[:1]
    await shop.api.ask("POST", f"/v1/deliveries/{head['id']}/retries")
    await until_attempted(shop, head["id"], 2)
    await quiet(endpoint, 0.2)
    assert endpoint.ids == ids[:1] * 2  # a retry that fails decides nothing
    endpoint.behaviour = always(204)
    await shop.api.ask("POST", f"/v1/deliveries/{head['id']}/retries")
    await shop.settled()
    assert endpoint.ids == [ids[0], ids[0], *ids]


async def test_a_cancelled_head_lets_the_next_go(shop: Shop) -> None:
    endpoint = await shop.subscribe(
        lambda webhook: Reply(500 if webhook.data == 0 else 204), ordering="subject", retry=NEVER_AGAIN
    )
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(3))
    head = await shop.in_state(ids[0], "retrying")
    await shop.api.ask("POST", f"/v1/deliveries/{head['id']}/cancellation")
    await shop.settled()
    assert endpoint.ids == ids
    assert await shop.statuses() == {"cancelled": 1, "delivered": 2}


async def test_a_head_cancelled_while_its_attempt_is_on_the_wire_lets_the_next_go(shop: Shop) -> None:
    answer_now = asyncio.Event()

    async def fail_when_told(writer: asyncio.StreamWriter) -> None:
        await answer_now.wait()
        writer.write(Reply(500).encode())
        await writer.drain()

    def behave(webhook: Received) -> Reply | Play:
        return fail_when_told if webhook.data == 0 else Reply()

    endpoint = await shop.subscribe(behave, ordering="subject", retry=NEVER_AGAIN)
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(3))
    await came(endpoint, 1)
    head = await shop.delivery(ids[0])
    await shop.api.ask("POST", f"/v1/deliveries/{head['id']}/cancellation")
    answer_now.set()
    await shop.settled(20)
    assert endpoint.ids == ids
    assert await shop.statuses() == {"cancelled": 1, "delivered": 2}


async def test_a_follower_that_is_cancelled_is_passed_over(shop: Shop) -> None:
    endpoint = await shop.subscribe(always(500), ordering="subject", retry={"schedule_s": [0, *[0.3] * 20]})
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(4))
    await came(endpoint, 1)
    second = await shop.delivery(ids[1])
    await shop.api.ask("POST", f"/v1/deliveries/{second['id']}/cancellation")
    endpoint.behaviour = always(204)
    await shop.settled()
    assert list(dict.fromkeys(endpoint.ids)) == [ids[0], *ids[2:]]


async def test_a_manual_retry_waits_for_what_is_in_flight_of_its_subject(shop: Shop) -> None:
    slow = await shop.subscribe(
        lambda webhook: Reply(500 if webhook.data == 0 else 204), ordering="subject", retry=ONCE
    )
    failed = await shop.finished((await shop.publish(subject="order/1", data=0))["id"])
    slow.behaviour = lambda _: Reply(after_s=0.05)
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(1, 20))
    for _ in range(5):
        await shop.api.ask("POST", f"/v1/deliveries/{failed['id']}/retries")
        await asyncio.sleep(0.05)
    await shop.settled()

    async def retried() -> bool:
        return bool((await shop.delivery(failed["event"]))["status"] == "delivered")

    await until(retried)
    await quiet(slow, 0.2)
    assert slow.overlaps == 0
    assert [webhook.id for webhook in slow.webhooks if webhook.id != failed["event"]] == ids


async def test_replays_join_the_tail(shop: Shop) -> None:
    endpoint = await shop.subscribe(ordering="subject")
    first = await shop.publish(subject="order/1", data=0)
    await shop.settled()
    endpoint.behaviour = lambda _: Reply(after_s=0.05)
    ids = await shop.publish_all({"subject": "order/1", "data": n} for n in range(1, 6))
    await shop.api.ask("POST", f"/v1/events/{first['id']}/replays")
    await shop.settled()
    assert endpoint.ids == [first["id"], *ids, first["id"]]
    assert endpoint.overlaps == 0


async def until_attempted(shop: Shop, delivery_id: str, times: int) -> None:
    async def enough() -> bool:
        return len(await shop.attempts(delivery_id)) >= times

    await until(enough)


def _order(endpoint: Endpoint) -> dict[str, list[int]]:
    """Each subject's numbers in the order they first came; a repeat must be of the one before."""
    order: dict[str, list[int]] = {}
    for webhook in endpoint.webhooks:
        numbers = order.setdefault(webhook.subject or "", [])
        if numbers and numbers[-1] == webhook.data["n"]:
            continue
        numbers.append(webhook.data["n"])
    return order
