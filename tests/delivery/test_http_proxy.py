"""Through the operator's egress proxy: we resolve, we check, and the proxy connects to what we checked."""

from __future__ import annotations

import ipaddress
import socket
import threading
from pathlib import Path

import pytest

from orderwire.delivery.http import EgressPolicy, SendError, TlsOptions
from tests.delivery.http_servers import OK, Authority, Proxy, answering, proxying, request, sending, serving

PUBLIC = "93.184.216.34"
NAMES: dict[str, list[str]] = {
    "shop.example": [PUBLIC],
    "mixed.example": ["10.0.0.7", "::1", PUBLIC],
    "inside.example": ["10.0.0.7", "fd00::1"],
    "six.example": ["2606:4700::1111"],
}


def through(proxy: Proxy, **fields: object) -> EgressPolicy:
    return EgressPolicy(allow_http=True, proxy_url=proxy.url, **fields)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The names above, answered without a network; counts the lookups."""
    real, asked = socket.getaddrinfo, dict[str, int]()

    def look_up(host: str, port: int, **fields: int) -> list[tuple[object, ...]]:
        asked[host] = asked.get(host, 0) + 1
        if host not in NAMES:
            return list(real(host, port, **fields))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


async def test_the_proxy_is_asked_for_the_checked_address(names: dict[str, int]) -> None:
    async with serving(answering(OK)) as server, proxying() as proxy, sending(through(proxy)) as sender:
        proxy.targets[f"{PUBLIC}:80"] = server.port
        for _ in range(3):
            answer = await sender.send(request("http://shop.example/hook"))
            assert (answer.status_code, answer.body, answer.error) == (200, b"ok", None), answer.error_detail
            assert answer.header("x-proxy") is None
            assert answer.connected_address == PUBLIC
    assert proxy.asked == [f"{PUBLIC}:80"]
    assert names == {"shop.example": 1}
    assert server.requests[0].startswith(b"POST /hook HTTP/1.1\r\nHost: shop.example\r\n")
    assert b"webhook-id" not in proxy.heads[0]


async def test_only_allowed_addresses_of_a_name_are_used() -> None:
    async with serving(answering(OK)) as server, proxying() as proxy, sending(through(proxy)) as sender:
        proxy.targets[f"{PUBLIC}:8080"] = server.port
        answer = await sender.send(request("http://mixed.example:8080/"))
        assert (answer.status_code, answer.error) == (200, None), answer.error_detail
        answer = await sender.send(request("http://six.example/"))
        assert answer.error == SendError.CONNECT_FAILED
        assert "proxy" in answer.error_detail
    assert proxy.asked == [f"{PUBLIC}:8080", "[2606:4700::1111]:80"]


@pytest.mark.parametrize(
    "host",
    [
        "inside.example",
        "127.0.0.1",
        "localhost",
        "0x7f000001",
        "2130706433",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
    ],
)
async def test_refused_targets_never_reach_the_proxy(host: str) -> None:
    async with proxying() as proxy, sending(through(proxy)) as sender:
        answer = await sender.send(request(f"http://{host}:81/"))
        assert (answer.status_code, answer.error) == (None, SendError.BLOCKED_ADDRESS), answer.error_detail
        assert "ORDERWIRE_ALLOW_NETWORKS" in answer.error_detail
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f000001", "2130706433"])
async def test_allowed_targets_are_reached_by_the_address_we_read(host: str) -> None:
    allow = (ipaddress.ip_network("127.0.0.0/8"),)
    async with serving(answering(OK)) as server, proxying() as proxy:
        proxy.targets["127.0.0.1:81"] = server.port
        async with sending(through(proxy, allow_networks=allow)) as sender:
            answer = await sender.send(request(f"http://{host}:81/"))
            assert (answer.status_code, answer.error) == (200, None), answer.error_detail
    assert proxy.asked == ["127.0.0.1:81"]


async def test_tls_is_verified_for_the_name_not_the_address(tmp_path: Path) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path, "shop.example")
    async with serving(answering(OK), tls=tls) as server, proxying() as proxy, sending(through(proxy)) as sender:
        proxy.targets[f"{PUBLIC}:443"] = server.port
        options = TlsOptions(ca_pem=authority.pem)
        answer = await sender.send(request("https://shop.example/", tls=options))
        assert (answer.status_code, answer.error) == (200, None), answer.error_detail
        answer = await sender.send(request("https://mixed.example/", tls=options))
        assert answer.error == SendError.TLS_FAILED


async def test_names_that_do_not_resolve_or_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    known = socket.getaddrinfo

    def look_up(host: str, port: int, **fields: int) -> object:
        if host == "hang.example":
            release.wait(30.0)
        if host in ("hang.example", "gone.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, port, **fields)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with serving(answering(OK)) as server, proxying() as proxy, sending(through(proxy)) as sender:
        proxy.targets[f"{PUBLIC}:80"] = server.port
        answer = await sender.send(request("http://gone.example/"))
        assert (answer.error, "gone.example" in answer.error_detail) == (SendError.DNS_FAILED, True)
        answer = await sender.send(request("http://hang.example/", timeout_s=0.3))
        assert answer.error == SendError.TIMEOUT
        assert (await sender.send(request("http://shop.example/"))).status_code == 200
        release.set()


async def test_a_proxy_that_is_down() -> None:
    async with proxying() as proxy:
        pass
    async with sending(through(proxy)) as sender:
        answer = await sender.send(request("http://shop.example/"))
    assert (answer.status_code, answer.error) == (None, SendError.CONNECT_FAILED)
