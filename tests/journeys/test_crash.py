"""The node is killed, stopped, started twice: what it answered 202 is received all the same."""

import asyncio
from pathlib import Path
from random import Random

from tests.kit.load import Load, hold_order, hold_sums
from tests.kit.node import LOOPBACK, Node
from tests.kit.receiver import Received, Reply, always
from tests.kit.shop import ONCE, QUICKLY, came, opened, until

SEED = 20_261_123
KILLS = 5


async def test_kill_9_at_random_moments_under_load_loses_nothing_accepted(own_node: Node) -> None:
    moments, moods = Random(SEED), Random(SEED + 1)

    def moody(webhook: Received) -> Reply:
        return Reply(204 if moods.random() > 0.1 else 500, after_s=moods.random() * 0.02)

    own_node.start()
    async with opened(own_node) as shop:
        plain = await shop.subscribe(moody)
        ordered = await shop.subscribe(moody, ordering="subject", concurrency=50)
        async with Load(shop, SEED, pause_s=0.02).running() as load:
            for _ in range(KILLS):
                await asyncio.sleep(moments.uniform(0.1, 0.8))
                own_node.kill()
                await asyncio.to_thread(own_node.start)
            await asyncio.sleep(0.3)
        await shop.settled()
        assert own_node.integrity() == "ok"
        assert len(load.accepted) > 10 * KILLS
        for endpoint in (plain, ordered):
            hold_sums(load, endpoint)
        hold_order(load, ordered)
        statuses = await shop.statuses()
        assert statuses == {"delivered": statuses["delivered"]}


async def test_sigterm_under_load_exits_0_in_time_and_nothing_accepted_is_lost(tmp_path: Path) -> None:
    node = Node(tmp_path, {**LOOPBACK, "SHUTDOWN_GRACE_S": "3"})
    hanging = asyncio.Event()  # never set: these answers never come

    async def hang(_: asyncio.StreamWriter) -> None:
        await hanging.wait()

    def stuck_once(webhook: Received) -> Reply | object:
        return hang if webhook.data["n"] % 50 == 1 and webhook.number == 1 else Reply()

    with node:
        async with opened(node) as shop:
            endpoint = await shop.subscribe(stuck_once, concurrency=100)  # type: ignore[arg-type]
            async with Load(shop, SEED).running() as load:
                await came(endpoint, 200)
                code, seconds = await asyncio.to_thread(node.terminate)
            assert code == 0, node.tail
            assert seconds < 10  # a promise of the contract, not a measurement
            await asyncio.to_thread(node.start)
            await shop.settled()
            assert node.integrity() == "ok"
            hold_sums(load, endpoint)


async def test_a_second_process_on_the_same_folder_is_refused_with_a_clear_message(own_node: Node) -> None:
    own_node.start()
    code, said = await asyncio.to_thread(own_node.run)
    assert code == 1
    assert "another orderwire process" in said
    assert str(own_node.data) in said
    assert "Traceback" not in said
    async with opened(own_node) as shop:  # the first one never noticed
        endpoint = await shop.subscribe()
        await shop.publish()
        await came(endpoint, 1)


async def test_what_waited_when_the_node_was_killed_is_sent_after_the_next_start(own_node: Node) -> None:
    own_node.start()
    async with opened(own_node) as shop:
        down = True
        endpoint = await shop.subscribe(lambda _: Reply(503 if down else 204), retry={"schedule_s": [0, *[0.3] * 40]})
        ids = await shop.publish_all({"data": {"n": n}} for n in range(100))
        await came(endpoint, 1)
        own_node.kill()
        await asyncio.to_thread(own_node.start)
        down = False
        await shop.settled()
        assert set(endpoint.ids) == set(ids)


async def test_an_operational_event_of_a_killed_node_is_still_told(own_node: Node) -> None:
    own_node.start()
    async with opened(own_node) as shop:
        watcher = await shop.subscribe(events=["orderwire.*"])
        failing = await shop.subscribe(
            lambda _: Reply(500), events=["order.*"], retry={"schedule_s": [0]}, concurrency=100
        )
        ids = await shop.publish_all({"data": {"n": n}} for n in range(100))
        await came(failing, 20)
        own_node.kill()
        await asyncio.to_thread(own_node.start)
        await came(watcher, len(ids))
        assert {webhook.data["event"] for webhook in watcher.webhooks} == set(ids)


async def test_subjects_keep_their_order_across_a_kill_9(own_node: Node) -> None:
    moods = Random(SEED)
    own_node.start()
    async with opened(own_node) as shop:

        def moody(_: Received) -> Reply:
            return Reply(204 if moods.random() > 0.3 else 500, after_s=0.01)

        retry = {"schedule_s": [0, *[0.02] * 49]}
        endpoint = await shop.subscribe(moody, ordering="subject", concurrency=100, retry=retry)
        events = [{"subject": f"order/{n % 20}", "data": {"n": n}} for n in range(400)]
        ids = await shop.publish_all(events)
        await came(endpoint, 100)
        own_node.kill()
        await asyncio.to_thread(own_node.start)
        await shop.settled()
        assert set(endpoint.ids) == set(ids)
        firsts: dict[str, list[int]] = {}
        for webhook in endpoint.webhooks:
            if webhook.number == 1:
                firsts.setdefault(webhook.subject or "", []).append(webhook.data["n"])
        assert all(numbers == sorted(numbers) for numbers in firsts.values())
        assert len(firsts) == 20


async def test_a_stopped_node_answers_nothing_half_way(own_node: Node) -> None:
    """Every request of the stop is answered whole or not at all, and a 202 of the last moment counts."""
    own_node.start()
    async with opened(own_node) as shop:
        endpoint = await shop.subscribe(retry=QUICKLY)
        async with Load(shop, SEED, publishers=32).running() as load:
            await came(endpoint, 50)
            await asyncio.to_thread(own_node.terminate)
        await asyncio.to_thread(own_node.start)

        async def all_came() -> bool:
            return set(load.accepted.values()) <= set(endpoint.ids)

        await until(all_came)


async def test_a_fan_out_and_a_bulk_replay_cut_short_by_kill_9_go_on_to_their_end(own_node: Node) -> None:
    own_node.start()
    async with opened(own_node) as shop:
        wide = shop.receiver.endpoint()
        places = 560  # more than one transaction writes deliveries for
        await asyncio.gather(
            *(shop.destination(wide.url, events=["wide.*"], config={"headers": {"x-n": str(n)}}) for n in range(places))
        )
        failing = await shop.subscribe(always(500), events=["order.*"], retry=ONCE, concurrency=50)
        ids = await shop.publish_all({"data": {"n": n}} for n in range(250))
        await came(failing, len(ids))
        await shop.settled()
        failing.behaviour = always(204)
        failing.webhooks.clear()
        own_node.kill()
        await asyncio.to_thread(own_node.start)
        path = f"/v1/destinations/{failing.destination}/replays"
        await shop.api.ask("POST", path, {"since": "2026-01-01T00:00:00Z"})
        fanned = [await shop.publish("wide.one", {"n": n}) for n in range(3)]
        own_node.kill()
        await asyncio.to_thread(own_node.start)
        await came(failing, len(ids))
        await shop.settled()
        assert set(failing.ids) == set(ids)
        statuses = await shop.statuses()
        assert statuses == {"failed": len(ids), "delivered": len(ids) + places * len(fanned)}
        got = {(webhook.id, webhook.headers["x-n"]) for webhook in wide.webhooks}
        assert len(got) == places * len(fanned)
