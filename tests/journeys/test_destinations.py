"""A destination's life: subscribed, filtered, paused, rotated, disabled, deleted; and what is told of it."""

import asyncio

from tests.kit.receiver import Received, Reply, always
from tests.kit.shop import NEVER_AGAIN, ONCE, Shop, came, quiet, until

BEYOND_DIRECT = 620  # more destinations than one accept writes deliveries for


async def test_410_disables_the_destination_keeps_what_waits_and_tells(shop: Shop) -> None:
    watcher = await shop.subscribe(events=["orderwire.*"])
    answers = [Reply(410)]
    endpoint = await shop.subscribe(lambda _: answers[0])
    first = await shop.publish(data=1)

    async def disabled() -> bool:
        shown = await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}")
        return bool(shown["state"] == "disabled" and shown["disabled_reason"] == "gone")

    await until(disabled)
    later = await shop.publish_all({"data": n} for n in range(5))
    await came(watcher, 1)
    (told,) = watcher.webhooks
    assert told.json["type"] == "orderwire.destination.disabled"
    assert told.data == {"destination": endpoint.destination, "name": "hook", "reason": "gone"}
    await quiet(endpoint, 0.3)
    assert endpoint.ids == [first["id"]]
    assert await shop.unfinished() == 6
    answers[0] = Reply()
    await shop.api.ask("POST", f"/v1/destinations/{endpoint.destination}/activation")
    await shop.settled()
    assert set(endpoint.ids) == {first["id"], *later}


async def test_many_410_at_once_are_told_once(shop: Shop) -> None:
    watcher = await shop.subscribe(events=["orderwire.*"])
    endpoint = await shop.subscribe(lambda _: Reply(410, after_s=0.05), concurrency=50)
    await shop.publish_all({"data": n} for n in range(50))
    await came(watcher, 1)
    await quiet(watcher, 0.3)
    assert [webhook.json["type"] for webhook in watcher.webhooks] == ["orderwire.destination.disabled"]
    await shop.api.ask("DELETE", f"/v1/destinations/{endpoint.destination}")


async def test_pausing_keeps_and_resuming_sends(shop: Shop) -> None:
    endpoint = await shop.subscribe(concurrency=1)
    endpoint.behaviour = lambda _: Reply(after_s=0.02)
    early = await shop.publish_all({"data": n} for n in range(30))
    await came(endpoint, 1)
    paused = await shop.api.ask("DELETE", f"/v1/destinations/{endpoint.destination}/activation")
    assert paused["state"] == "paused"
    late = [(await shop.publish(data=n))["id"] for n in range(10)]
    await quiet(endpoint, 0.2)
    assert len(endpoint.webhooks) < len(early)
    assert await shop.unfinished() > len(late)
    resumed = await shop.api.ask("POST", f"/v1/destinations/{endpoint.destination}/activation")
    assert resumed["state"] == "active"
    await shop.settled()
    assert sorted(endpoint.ids) == sorted(early + late)


async def test_deleting_cancels_everything_that_waits_and_nothing_is_sent_after(shop: Shop) -> None:
    endpoint = await shop.subscribe(lambda _: Reply(500, after_s=0.02), retry=NEVER_AGAIN, concurrency=2)
    await shop.publish_all({"data": n} for n in range(1500))
    await came(endpoint, 1)
    await shop.api.ask("DELETE", f"/v1/destinations/{endpoint.destination}")
    assert (await shop.api.call("GET", f"/v1/destinations/{endpoint.destination}")).status == 404
    await shop.settled()
    await quiet(endpoint, 0.2)
    assert len(endpoint.webhooks) < 100
    rows = await shop.api.every("/v1/deliveries")
    assert len(rows) == 1500
    assert {row["reason"] for row in rows if row["status"] == "cancelled"} == {"destination_deleted"}
    answer = await shop.publish()
    assert answer["deliveries"] == 0


async def test_deleting_under_load_leaves_nothing_waiting_for_nobody(shop: Shop) -> None:
    stay = await shop.subscribe()
    for _ in range(5):
        gone = await shop.subscribe()
        publishing = [asyncio.create_task(shop.publish(data=n)) for n in range(40)]
        await asyncio.sleep(0.01)
        await shop.api.ask("DELETE", f"/v1/destinations/{gone.destination}")
        await asyncio.gather(*publishing)
    await came(stay, 200)
    await shop.settled(30)


async def test_a_rotation_signs_with_both_until_its_grace_ends(shop: Shop) -> None:
    endpoint = await shop.subscribe()
    old = endpoint.secrets[0]
    path = f"/v1/destinations/{endpoint.destination}/secret-rotations"
    rotated = await shop.api.ask("POST", path, {"grace_s": 2})
    assert rotated["secrets"][1:] == [old]
    endpoint.secrets = rotated["secrets"]
    await shop.publish(data=1)
    await came(endpoint, 1)
    assert endpoint.webhooks[0].signed_by == tuple(rotated["secrets"])

    async def ended() -> bool:
        shown = await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}/secret")
        return bool(shown["secrets"] == [rotated["secret"]])

    await until(ended)
    await shop.publish(data=2)
    await came(endpoint, 2)
    assert endpoint.webhooks[1].signed_by == (rotated["secret"],)
    own = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
    endpoint.secrets = (await shop.api.ask("POST", path, {"grace_s": 0, "secret": own}))["secrets"]
    assert endpoint.secrets == [own]
    await shop.publish(data=3)
    await came(endpoint, 3)
    assert endpoint.webhooks[2].signed_by == (own,)


async def test_a_trial_is_one_real_signed_request_whatever_the_state(shop: Shop) -> None:
    endpoint = await shop.subscribe(lambda _: Reply(418, b"short and stout"), events=["order.*"])
    await shop.api.ask("DELETE", f"/v1/destinations/{endpoint.destination}/activation")
    path = f"/v1/destinations/{endpoint.destination}/tests"
    attempt = await shop.api.ask("POST", path)
    assert (attempt["status_code"], attempt["outcome"]) == (418, "rejected")
    assert attempt["response_body"] == "short and stout"
    endpoint.behaviour = always(204)
    attempt = await shop.api.ask("POST", path, {"type": "order.created"})
    assert attempt["outcome"] == "delivered"
    first, second = endpoint.webhooks
    assert (first.json["type"], second.json["type"]) == ("orderwire.test", "order.created")
    assert all(webhook.signed_by for webhook in endpoint.webhooks)
    await quiet(endpoint, 0.3)
    assert len(endpoint.webhooks) == 2


async def test_a_filter_and_a_pattern_choose_and_a_pin_overrules_them(shop: Shop) -> None:
    dear = await shop.subscribe(events=["order.*"], filter={"data.total": {"$gte": 100}})
    deep = await shop.subscribe(events=["order.line.*"])
    exact = await shop.subscribe(events=["order"])
    everything = await shop.subscribe(events=["*"])
    cheap = await shop.publish("order.created", {"total": 99})
    costly = await shop.publish("order.created", {"total": 100})
    line = await shop.publish("order.line.item.added", {"total": 1000})
    other = await shop.publish("orders.created", {"total": 1000})
    plain = await shop.publish("order", {"total": 1})
    pinned = await shop.publish("other.thing", {"total": 1}, destination=dear.destination)
    assert pinned["deliveries"] == 1
    await shop.settled()
    assert dear.ids == [costly["id"], line["id"], pinned["id"]]
    assert deep.ids == [line["id"]]
    assert exact.ids == [plain["id"]]
    assert everything.ids == [event["id"] for event in (cheap, costly, line, other, plain)]


async def test_a_changed_destination_is_changed_for_what_waits_too(shop: Shop) -> None:
    old = await shop.subscribe(always(500), retry={"schedule_s": [0, *[0.2] * 20]}, config={"headers": {"x-a": "1"}})
    event = await shop.publish()
    await came(old, 1)
    new = shop.receiver.endpoint()
    new.secrets = old.secrets
    changes = {"config": {"url": new.url, "headers": {"x-a": "2"}}, "events": ["never.again"]}
    await shop.api.ask("PATCH", f"/v1/destinations/{old.destination}", changes)
    await came(new, 1)
    assert new.ids == [event["id"]]
    assert new.webhooks[0].headers["x-a"] == "2"


async def test_more_destinations_than_one_transaction_writes_all_get_the_event(shop: Shop) -> None:
    endpoint = shop.receiver.endpoint()
    made = [
        asyncio.create_task(shop.destination(f"{endpoint.url}", events=["wide.*"], config={"headers": {"x-n": str(n)}}))
        for n in range(BEYOND_DIRECT)
    ]
    await asyncio.gather(*made)
    answer = await shop.publish("wide.one")
    assert answer["deliveries"] == BEYOND_DIRECT

    async def all_came() -> bool:
        return len(endpoint.webhooks) >= BEYOND_DIRECT

    await until(all_came)
    await shop.settled()
    assert {webhook.headers["x-n"] for webhook in endpoint.webhooks} == {str(n) for n in range(BEYOND_DIRECT)}
    assert len(endpoint.webhooks) == BEYOND_DIRECT
    assert await shop.statuses() == {"delivered": BEYOND_DIRECT}


async def test_a_failed_delivery_is_told_to_who_subscribed_by_name_and_never_in_circles(shop: Shop) -> None:
    watcher = await shop.subscribe(events=["orderwire.*"])
    broken_watcher = await shop.subscribe(always(500), events=["orderwire.delivery.failed"], retry=ONCE)
    everything = await shop.subscribe(events=["*"])
    failing = await shop.subscribe(lambda _: Reply(503, b"no"), events=["order.*"], retry={"schedule_s": [0, 0.05]})
    event = await shop.publish("order.created", subject="order/1")
    await came(watcher, 1)
    (told,) = watcher.webhooks
    assert told.json["type"] == "orderwire.delivery.failed"
    assert told.data["event"] == event["id"]
    assert told.data["event_type"] == "order.created"
    assert told.data["destination"] == failing.destination
    assert told.data["attempt_count"] == 2
    assert told.data["last_attempt"]["status_code"] == 503
    await came(broken_watcher, 1)
    await shop.settled()
    await quiet(watcher, 0.3)
    assert len(watcher.webhooks) == 1
    assert everything.ids == [event["id"]]  # `*` is every type but ours


async def test_statistics_add_up(shop: Shop) -> None:
    def behave(webhook: Received) -> Reply:
        return Reply(500 if webhook.data < 10 and webhook.number == 1 else 204)

    endpoint = await shop.subscribe(behave)
    await shop.publish_all({"data": n} for n in range(50))
    await shop.settled()
    stats = await shop.api.ask("GET", f"/v1/destinations/{endpoint.destination}/stats")
    assert stats["outcomes"] == {"delivered": 50, "rejected": 10}
    assert stats["attempts"] == 60
    assert stats["waiting"] == 0
    assert sum(point["attempts"] for point in stats["series"]) == 60
    assert abs(stats["success_rate"] - 50 / 60) < 0.001
