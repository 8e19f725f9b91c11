"""Receivers that mean harm, and addresses nobody may reach: each its own clear outcome, and no other lane notices."""

import asyncio
from asyncio import StreamWriter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.hostile import FAR_DATE, HOSTILE, MIB
from tests.kit.node import Node
from tests.kit.receiver import Reply, always
from tests.kit.shop import ONCE, Shop, came, opened, until

KEPT_BYTES_MAX = 16 * 1024


async def test_every_hostile_receiver_has_its_own_outcome_and_no_neighbour_suffers(shop: Shop) -> None:
    good = await shop.subscribe(events=["good.*"])
    hostile = {
        name: await shop.subscribe(behaviour, events=["bad.one"], config={"timeout_s": 1}, retry=ONCE)
        for name, (behaviour, _) in HOSTILE.items()
    }
    plain = await asyncio.start_server(_answer_before_asked, "127.0.0.1", 0)
    plain_port = plain.sockets[0].getsockname()[1]
    nowhere = {
        "connect_failed": await shop.destination("http://127.0.0.1:1/", events=["bad.one"], retry=ONCE),
        "dns_failed": await shop.destination("http://nobody.invalid/", events=["bad.one"], retry=ONCE),
        "tls_failed": await shop.destination(f"https://127.0.0.1:{plain_port}/", events=["bad.one"], retry=ONCE),
    }
    bad = await shop.publish_all({"type": "bad.one", "data": {"n": n}} for n in range(3))
    fine = await shop.publish_all({"type": "good.one", "data": {"n": n}} for n in range(300))
    await came(good, len(fine))
    assert sorted(good.ids) == sorted(fine)
    await shop.settled()
    plain.close()
    for name, endpoint in hostile.items():
        _, outcomes = HOSTILE[name]
        ends = await _ends(shop, endpoint.destination)
        assert len(ends) == len(bad), name
        for delivery, attempt in ends:
            assert attempt["outcome"] in outcomes, f"{name}: {attempt}"
            assert delivery["status"] == ("delivered" if attempt["outcome"] == "delivered" else "failed"), name
            assert attempt["outcome"] == "delivered" or attempt["error"], name
            assert len(attempt["response_body"].encode("utf-8", "replace")) <= 4 * KEPT_BYTES_MAX, name
        assert set(endpoint.ids) == set(bad), name
    for outcome, destination in nowhere.items():
        ends = await _ends(shop, destination["id"])
        assert [attempt["outcome"] for _, attempt in ends] == [outcome] * len(bad)


async def test_a_large_answer_is_kept_in_part_and_says_so(shop: Shop) -> None:
    large = await shop.subscribe(lambda _: Reply(200, b"x" * MIB))
    strange = await shop.subscribe(lambda _: Reply(200, b"a\x00b\xffc"))
    event = await shop.publish()
    attempts = []
    for endpoint in (large, strange):
        delivery = await shop.finished(event["id"], endpoint)
        attempts += await shop.attempts(delivery["id"])
    assert attempts[0]["response_truncated"] is True
    assert attempts[0]["response_body"] == "x" * KEPT_BYTES_MAX
    assert attempts[1]["response_truncated"] is False
    assert attempts[1]["response_body"] == "a\x00b\ufffdc"


async def test_a_receiver_that_asks_for_the_impossible_does_not_stop_its_own_lane(shop: Shop) -> None:
    """What it answers is data. An answer nobody foresaw once kept its neighbours' from being written."""
    endpoint = await shop.subscribe(
        lambda webhook: Reply(429, headers={"retry-after": FAR_DATE}) if webhook.number == 1 else Reply()
    )
    ids = await shop.publish_all({"data": n} for n in range(50))
    await shop.settled()
    assert set(endpoint.ids) == set(ids)
    assert await shop.statuses() == {"delivered": 50}


@pytest.fixture(scope="module")
def closed_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node as it is without settings, but for one address of this machine's loopback."""
    settings = {"ALLOW_HTTP": "true", "ALLOW_NETWORKS": "127.0.0.2/32"}
    with Node(Path(tmp_path_factory.mktemp("closed")), settings) as running:
        yield running
        assert not running.unforeseen(), running.tail


INSIDE = [
    "127.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "127.1",
    "localhost.",
    "localhost",
    "[::1]",
    "0.0.0.0",
    "[::]",
    "169.254.169.254",
    "[fe80::1]",
    "10.0.0.1",
    "192.168.1.1",
    "[fd00::1]",
    "[64:ff9b::7f00:1]",
]


async def test_no_spelling_of_an_inside_address_is_reached(closed_node: Node) -> None:
    async with opened(closed_node, host="127.0.0.2") as shop:
        good = await shop.subscribe(events=["good.*", "inside.*"])
        inside = shop.receiver.endpoint()
        inside.behaviour = always(204)
        spelled: dict[str, str] = {}
        for host in INSIDE:
            url = f"http://{host}:{shop.receiver.port}{inside.path}"
            body = {"kind": "webhook", "name": host, "events": ["inside.*"], "config": {"url": url}, "retry": ONCE}
            answer = await shop.api.call("POST", "/v1/destinations", body)
            if answer.status == 422:  # refused before anything could be sent there
                assert answer.paths == ["config.url"]
                continue
            assert answer.status == 201, answer
            spelled[host] = answer.json["id"]
        event = await shop.publish("inside.out")
        fine = await shop.publish_all({"type": "good.one", "data": n} for n in range(100))
        await came(good, 1 + len(fine))
        await shop.settled()
        for host, destination in spelled.items():
            ((delivery, attempt),) = await _ends(shop, destination)
            assert delivery["status"] == "failed", host
            assert attempt["outcome"] == "blocked_address", f"{host}: {attempt}"
            assert attempt["status_code"] is None
        assert {"127.0.0.1", "[::ffff:127.0.0.1]", "localhost"} <= set(spelled)
        assert not inside.webhooks
        assert set(good.ids) == {event["id"], *fine}


async def test_the_test_button_opens_no_door_either(closed_node: Node) -> None:
    async with opened(closed_node) as shop:
        inside = shop.receiver.endpoint()
        made = await shop.destination(inside.url)
        attempt = await shop.api.ask("POST", f"/v1/destinations/{made['id']}/tests")
        assert attempt["outcome"] == "blocked_address"
        assert not inside.webhooks


async def _answer_before_asked(_: asyncio.StreamReader, writer: StreamWriter) -> None:
    """What a TLS client meets at the port of a plain server."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def _ends(shop: Shop, destination: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Of each delivery of a destination: itself, and its only attempt."""

    async def look() -> list[Any]:
        return await shop.api.every("/v1/deliveries", destination=destination)

    ends = []
    for delivery in await until(look):
        attempts = await shop.attempts(delivery["id"])
        assert len(attempts) == 1, attempts
        ends.append((delivery, attempts[0]))
    return ends
