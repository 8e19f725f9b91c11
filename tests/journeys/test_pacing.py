"""How fast, how many at once, when not at all: every lane keeps its limits, and only its own."""

import asyncio
from itertools import pairwise
from random import Random

from tests.kit.receiver import Endpoint, Received, Reply, always
from tests.kit.shop import NEVER_AGAIN, Shop, came, quiet, until

SEED = 20_261_123
SLACK_S = 0.25  # between our clock and the node's, on a busy machine


async def test_a_rate_limit_holds_in_every_window_and_drops_nothing(shop: Shop) -> None:
    per_second, burst = 40, 4
    moods = Random(SEED)
    endpoint = await shop.subscribe(
        lambda _: Reply(204 if moods.random() > 0.2 else 500),
        rate_limit={"per_second": per_second, "burst": burst},
        concurrency=50,
    )
    free = await shop.subscribe()
    ids = await shop.publish_all({"data": n} for n in range(100))
    await came(free, len(ids))
    assert len(endpoint.webhooks) < len(ids)  # the other lane did not wait
    await shop.settled()
    assert set(endpoint.ids) == set(ids)
    assert len(endpoint.webhooks) > len(ids)  # retries count too
    times = [webhook.at for webhook in endpoint.webhooks]
    for width_s in (0.5, 1.0, 2.0):
        for start in times:
            count = sum(start <= at < start + width_s for at in times)
            assert count <= per_second * (width_s + SLACK_S) + burst


async def test_the_default_burst_is_a_tenth_of_a_second(shop: Shop) -> None:
    endpoint = await shop.subscribe(rate_limit={"per_second": 20}, concurrency=50)
    shown = await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}")
    assert shown["rate_limit"] == {"per_second": 20, "burst": 2}
    await shop.publish_all({"data": n} for n in range(20))
    await came(endpoint, 20)
    times = [webhook.at for webhook in endpoint.webhooks]
    assert times[-1] - times[0] > (20 - 2) / 20 - SLACK_S


async def test_concurrency_is_never_exceeded(shop: Shop) -> None:
    moods = Random(SEED)
    lanes = [
        await shop.subscribe(
            lambda _: Reply(204 if moods.random() > 0.2 else 500, after_s=0.02), concurrency=width, events=["order.*"]
        )
        for width in (1, 3, 10)
    ]
    await shop.publish_all({"data": n} for n in range(60))
    await shop.settled()
    for width, endpoint in zip((1, 3, 10), lanes, strict=True):
        assert endpoint.in_flight_max == width


async def test_retry_after_holds_the_whole_lane_for_as_long_as_asked(shop: Shop) -> None:
    endpoint = await shop.subscribe(concurrency=1, events=["order.*"])
    busy = await shop.subscribe(always(204), events=["other.*"])
    waits = iter([Reply(429, headers={"retry-after": "2"})])
    endpoint.behaviour = lambda _: next(waits, Reply())
    ids = await shop.publish_all({"data": n} for n in range(20))
    await came(endpoint, 1)
    late = (await shop.publish(data="late"))["id"]
    others = await shop.publish_all({"type": "other.one", "data": n} for n in range(50))
    await came(busy, len(others))
    assert len(endpoint.webhooks) == 1  # only the hold's own lane waits
    shown = await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}/stats")
    assert shown["hold_until"]
    assert shown["outcomes"] == {"throttled": 1}
    await shop.settled()
    first, second, *_ = (webhook.at for webhook in endpoint.webhooks)
    assert second - first > 2 - SLACK_S
    assert set(endpoint.ids) == {*ids, late}


async def test_503_with_a_date_holds_and_a_resume_ends_the_hold(shop: Shop) -> None:
    far = "Fri, 31 Dec 2100 23:59:59 GMT"
    answers = iter([Reply(503, headers={"retry-after": far})])
    endpoint = await shop.subscribe(lambda _: next(answers, Reply()))
    event = await shop.publish()
    held = await shop.in_state(event["id"], "retrying")
    second = await shop.publish(data=2)
    await quiet(endpoint, 0.3)
    assert endpoint.ids == [event["id"]]
    assert held["reason"] == "throttled"
    await shop.api.ask("POST", f"/v1/destinations/{endpoint.destination}/activation")
    await shop.finished(second["id"])
    assert second["id"] in endpoint.ids


async def test_a_breaker_lets_one_through_at_a_time_until_one_succeeds(shop: Shop) -> None:
    endpoint = await shop.subscribe(
        lambda _: Reply(500, after_s=0.02), concurrency=20, retry={"schedule_s": [0, *[0.1] * 49]}
    )
    ids = await shop.publish_all({"data": n} for n in range(60))

    async def is_open() -> bool:
        return bool((await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}/stats"))["breaker_open"])

    await until(is_open)
    await quiet_down(endpoint)
    endpoint.in_flight_max = 0
    seen = len(endpoint.webhooks)
    await asyncio.sleep(0.8)
    assert len(endpoint.webhooks) > seen + 3  # it never stops a lane
    assert endpoint.in_flight_max == 1
    endpoint.behaviour = lambda _: Reply(after_s=0.02)
    await shop.settled()
    assert set(endpoint.ids) == set(ids)
    assert endpoint.in_flight_max > 1
    assert not await is_open()


async def quiet_down(endpoint: Endpoint) -> None:
    """Until what was on the wire when the breaker opened is answered."""

    async def at_most_one() -> bool:
        return endpoint.in_flight <= 1

    await until(at_most_one)


async def test_the_schedule_is_kept_attempt_by_attempt(shop: Shop) -> None:
    schedule = [0, 0.2, 0.4, 0.8]
    endpoint = await shop.subscribe(always(500), retry={"schedule_s": schedule})
    event = await shop.publish()
    delivery = await shop.finished(event["id"])
    assert (delivery["status"], delivery["reason"], delivery["attempt_count"]) == ("failed", "exhausted", 4)
    assert delivery["next_attempt_at"] is None
    times = [webhook.at for webhook in endpoint.webhooks]
    waits = [after - before for before, after in pairwise(times)]
    assert all(wait > delay * 0.9 - 0.02 for wait, delay in zip(waits, schedule[1:], strict=True)), waits
    attempts = await shop.attempts(delivery["id"])
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3, 4]
    assert {attempt["outcome"] for attempt in attempts} == {"rejected"}


async def test_a_first_delay_waits_too(shop: Shop) -> None:
    endpoint = await shop.subscribe(retry={"schedule_s": [0.5, 1]})
    prompt = await shop.subscribe()
    event = await shop.publish()
    await came(prompt, 1)
    delivery = await shop.finished(event["id"], endpoint)
    assert delivery["status"] == "delivered"
    assert endpoint.webhooks[0].at - prompt.webhooks[0].at > 0.5 - SLACK_S


async def test_five_thousand_waiting_for_a_dead_address_delay_nobody(shop: Shop) -> None:
    dead = await shop.destination("http://127.0.0.1:1/", events=["dead.*"], retry=NEVER_AGAIN)
    waiting = await shop.publish_all({"type": "dead.one", "data": {"n": n}} for n in range(5000))
    alive = await shop.subscribe(events=["alive.*"])
    ids = [(await shop.publish("alive.one", n))["id"] for n in range(200)]
    await came(alive, len(ids))
    assert sorted(alive.ids) == sorted(ids)
    stats = await shop.api.ask("GET", f"/v1/destinations/{dead['id']}/stats")
    assert stats["attempts"] < len(waiting)
    assert stats["breaker_open"]
    await shop.api.ask("DELETE", f"/v1/destinations/{dead['id']}")
    await shop.settled()
    assert await shop.statuses() == {"cancelled": len(waiting), "delivered": len(ids)}


async def test_a_silent_receiver_with_many_waiting_delays_nobody(shop: Shop) -> None:
    async def say_nothing(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    def behave(_: Received) -> object:
        return say_nothing

    silent = await shop.subscribe(behave, events=["dead.*"], config={"timeout_s": 60})  # type: ignore[arg-type]
    await shop.publish_all({"type": "dead.one", "data": n} for n in range(2000))
    alive = await shop.subscribe(events=["alive.*"])
    ids = [(await shop.publish("alive.one", n))["id"] for n in range(100)]
    await came(alive, len(ids))
    assert silent.in_flight_max == 10
    await shop.api.ask("DELETE", f"/v1/destinations/{silent.destination}")
