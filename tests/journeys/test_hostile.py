"""Receivers that mean harm, and addresses nobody may reach: each its own clear outcome, and no other lane notices."""

import asyncio
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.node import Node
from tests.kit.receiver import Behaviour, Reply, always
from tests.kit.shop import ONCE, Shop, came, opened, until

MIB = 1024 * 1024
KEPT_BYTES_MAX = 16 * 1024
FAR_DATE = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
FAR_OFFSET = "Mon, 01 Jan 2029 00:00:00 +99999999999999"


def playing(play: Callable[[StreamWriter], Awaitable[None]]) -> Behaviour:
    """On the bare connection, whatever was asked."""
    return lambda _: play


def saying(*parts: bytes, then_wait: bool = False) -> Behaviour:
    """These bytes, then the end of the connection, or nothing more."""

    async def play(writer: StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_wait:
            await asyncio.sleep(3600)

    return playing(play)


async def drip(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    for _ in range(100):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.2)


async def drip_headers(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        writer.write(b"x-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.2)


async def flood(writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
        await writer.drain()


async def promise(writer: StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


OK_HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE: dict[str, tuple[Behaviour, set[str]]] = {
    "never answers": (saying(then_wait=True), {"timeout"}),
    "drips its body": (playing(drip), {"timeout"}),
    "drips its headers": (playing(drip_headers), {"timeout"}),
    "stops in the body": (saying(OK_HEAD + b"content-length: 9\r\n\r\n1234", then_wait=True), {"timeout"}),
    "promises for ever": (playing(promise), {"timeout", "bad_answer"}),
    "closes at once": (saying(), {"connection_lost"}),
    "closes in the headers": (saying(OK_HEAD + b"content-le"), {"connection_lost"}),
    "closes in the body": (saying(OK_HEAD + b"content-length: 9\r\n\r\n1234"), {"connection_lost"}),
    "closes between chunks": (
        saying(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n"),
        {"connection_lost"},
    ),
    "talks nonsense": (saying(b"\x00\xff what?\r\n\r\n"), {"bad_answer"}),
    "sends endless headers": (saying(OK_HEAD + b"x: y\r\n" * 200_000), {"bad_answer"}),
    "sends one long header": (saying(OK_HEAD + b"x: " + b"y" * MIB), {"bad_answer"}),
    "sends a wrong length": (saying(OK_HEAD + b"content-length: -1\r\n\r\n"), {"bad_answer"}),
    "sends two lengths": (
        saying(OK_HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n12"),
        {"bad_answer", "delivered"},
    ),
    "sends a wrong chunk": (saying(OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), {"bad_answer"}),
    "redirects to the metadata": (
        always(302, location="http://169.254.169.254/latest/meta-data/"),
        {"redirected"},
    ),
    "redirects to itself": (always(307, location="/"), {"redirected"}),
    "asks to wait beyond all years": (always(429, retry_after=FAR_DATE), {"throttled"}),
    "asks to wait beyond all zones": (always(503, retry_after=FAR_OFFSET), {"throttled"}),
    "asks to wait for nonsense": (always(429, retry_after="\x01 soon"), {"throttled", "bad_answer"}),
    "asks to wait for 10^40 s": (always(429, retry_after="1" + "0" * 40), {"throttled"}),
    "answers 10 MB": (lambda _: Reply(500, bytes(10 * MIB)), {"rejected"}),
    "answers NUL and bad UTF-8": (lambda _: Reply(500, b"\x00\xff\xfe{\xc3\x28\xed\xa0\x80"), {"rejected"}),
    "answers 999": (saying(b"HTTP/1.1 999 \xff\x00\r\ncontent-length: 0\r\n\r\n"), {"rejected", "bad_answer"}),
    "answers early and more": (
        saying(b"HTTP/1.1 400 X\r\ncontent-length: 1\r\n\r\n1234HTTP/1.1 200 OK\r\n"),
        {"rejected"},
    ),
    "floods with a 2xx": (playing(flood), {"delivered"}),
    "takes it with 10 MB": (lambda _: Reply(200, b"x" * 10 * MIB), {"delivered"}),
}


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
