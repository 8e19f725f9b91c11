"""Addresses that must not be reached, however they are written, and names, whatever they resolve to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

import pytest

from orderwire.delivery.http import EgressPolicy, SendError
from tests.delivery.http_servers import OK, answering, request, sending, serving

LONG_S = 30.0  # no test waits this long unless something is broken
CLOSED = EgressPolicy(allow_http=True)

LOOPBACK_HOSTS = [
    "127.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "127.1",
    "0x7f.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "0",
    "0.0.0.0",
    "[::]",
]


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
async def test_loopback_in_any_disguise_is_blocked(host: str) -> None:
    async with serving(answering(OK)) as server, sending(CLOSED) as sender:
        answer = await sender.send(request(f"http://{host}:{server.port}/"))
    assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_ADDRESS), answer.error_detail
    assert "ORDERWIRE_ALLOW_NETWORKS" in answer.error_detail
    assert any(address in answer.error_detail for address in ("127.0.0.1", "::1", "0.0.0.0", "::"))
    assert server.connections == 0


@pytest.mark.parametrize("host", LOOPBACK_HOSTS[:-3])
async def test_loopback_is_reached_where_the_operator_allows_it(host: str) -> None:
    listening = "::1" if host == "[::1]" else "127.0.0.1"
    async with serving(answering(OK), host=listening) as server, sending() as sender:
        answer = await sender.send(request(f"http://{host}:{server.port}/"))
    assert (answer.status_code, answer.error) == (200, None), answer.error_detail


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host names and their addresses, answered without a network."""
    real, known = socket.getaddrinfo, dict[str, list[str]]()

    def look_up(host: str, port: object, **fields: int) -> list[tuple[object, ...]]:
        if host not in known:
            return list(real(host, port, **fields))  # type: ignore[arg-type]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


async def test_a_name_is_judged_by_what_it_resolves_to(names: dict[str, list[str]]) -> None:
    names.update(
        {"inside.example": ["127.0.0.1"], "meta.example": ["169.254.169.254"], "six.example": ["::1", "fd00::1"]}
    )
    async with serving(answering(OK)) as server:
        async with sending(CLOSED) as sender:
            for host in names:
                answer = await sender.send(request(f"http://{host}:{server.port}/"))
                assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_ADDRESS), answer.error_detail
        assert server.connections == 0
        async with sending() as sender:
            answer = await sender.send(request(f"http://inside.example:{server.port}/"))
            assert (answer.status_code, answer.error) == (200, None), answer.error_detail
            answer = await sender.send(request(f"http://meta.example:{server.port}/"))
            assert answer.error == SendError.BLOCKED_ADDRESS


async def test_of_several_addresses_only_the_allowed_are_tried(names: dict[str, list[str]]) -> None:
    names["mixed.example"] = ["10.0.0.1", "169.254.169.254", "127.0.0.1"]
    async with serving(answering(OK)) as server, sending() as sender:
        answer = await sender.send(request(f"http://mixed.example:{server.port}/"))
    assert (answer.status_code, answer.connected_address) == (200, "127.0.0.1"), answer.error_detail


async def test_a_name_that_turns_to_a_private_address_is_blocked(names: dict[str, list[str]]) -> None:
    names["turns.example"] = ["127.0.0.1"]
    only_one = EgressPolicy((ipaddress.ip_network("127.0.0.1/32"),), allow_http=True)
    async with serving(answering(OK, then_close=True)) as server, sending(only_one) as sender:
        url = f"http://turns.example:{server.port}/"
        assert (await sender.send(request(url))).status_code == 200
        names["turns.example"] = ["127.0.0.2"]
        sender._resolver._cache.clear()
        answer = await sender.send(request(url))
    assert answer.error == SendError.BLOCKED_ADDRESS
    assert "127.0.0.2" in answer.error_detail


async def test_the_metadata_address_is_blocked_at_once() -> None:
    async with sending() as sender:
        for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1", "[fd00:ec2::254]"):
            answer = await sender.send(request(f"http://{host}/", timeout_s=LONG_S))
            assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_ADDRESS), answer.error_detail


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as proxy, serving(answering(OK)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with sending() as sender:
            assert (await sender.send(request(server.url))).status_code == 200
        async with sending(CLOSED) as sender:
            assert (await sender.send(request(server.url))).error == SendError.BLOCKED_ADDRESS
    assert (proxy.connections, server.connections) == (0, 1)


async def test_names_that_hang_hold_up_no_others(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    known, release = socket.getaddrinfo, threading.Event()

    def look_up(host: str, *arguments: object, **fields: int) -> object:
        if host.startswith("hang"):
            release.wait(LONG_S)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return known(host, *arguments, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names["good.example"] = ["127.0.0.1"]
    async with serving(answering(OK)) as server, sending() as sender:
        urls = [f"http://hang{number % 40}.example/" for number in range(80)]
        stuck = [asyncio.create_task(sender.send(request(url, timeout_s=0.5))) for url in urls]
        await asyncio.sleep(0.05)
        answer = await sender.send(request(f"http://good.example:{server.port}/"))
        assert (answer.status_code, answer.error) == (200, None), answer.error_detail
        answers = await asyncio.gather(*stuck)
        assert {answer.error for answer in answers} == {SendError.TIMEOUT}
        assert all(answer.duration_ms >= 500 for answer in answers)
        release.set()
