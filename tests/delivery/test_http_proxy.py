"""Through the operator's egress proxy: we resolve, we check, and the proxy connects to what we checked."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orderwire.delivery.http import EgressPolicy, SendError, TlsOptions
from tests.delivery.http_servers import OK, Authority, Proxy, answering, proxying, request, sending, serving

LONG_S = 30.0  # no test waits this long unless something is broken
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


@contextlib.asynccontextmanager
async def answering_connect(answer: bytes, *, then_close: bool = True) -> AsyncIterator[str]:
    """A proxy that answers CONNECT like this: its URL."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.reader.readuntil(b"\r\n\r\n")  # type: ignore[attr-defined]
        writer.write(answer)
        await writer.drain()
        if not then_close:
            await asyncio.sleep(LONG_S)

    async with serving(behave) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 20", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "valid HTTP"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 2\r\n\r\nno", "user name and password"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno", "502"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "100"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "more than its answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "valid HTTP"),
    ],
)
async def test_a_proxy_that_answers_badly(answer: bytes, words: str) -> None:
    async with answering_connect(answer) as url, sending(EgressPolicy(allow_http=True, proxy_url=url)) as sender:
        for target in ("http://shop.example/", "https://shop.example/"):
            got = await sender.send(request(target))
            assert (got.status_code, got.error) == (None, SendError.CONNECT_FAILED), got.error_detail
            assert "proxy" in got.error_detail
            assert words in got.error_detail


async def test_a_proxy_that_hangs() -> None:
    async with (
        answering_connect(b"HTTP/1.1 200", then_close=False) as url,
        sending(EgressPolicy(allow_http=True, proxy_url=url)) as sender,
    ):
        answer = await sender.send(request("http://shop.example/", timeout_s=0.2))
    assert answer.error == SendError.TIMEOUT
    assert "proxy" in answer.error_detail


async def test_a_proxy_whose_name_is_unknown() -> None:
    async with sending(EgressPolicy(allow_http=True, proxy_url="http://no-such-host.invalid:3128")) as sender:
        answer = await sender.send(request("http://shop.example/"))
    assert answer.error == SendError.CONNECT_FAILED
    assert "proxy" in answer.error_detail


async def test_the_proxys_user_and_password_go_to_the_proxy_only() -> None:
    async with serving(answering(OK)) as server, proxying() as proxy:
        proxy.targets[f"{PUBLIC}:80"] = server.port
        url = proxy.url.replace("http://", "http://us%40er:se%3Acret@")
        async with sending(EgressPolicy(allow_http=True, proxy_url=url)) as sender:
            assert (await sender.send(request("http://shop.example/"))).status_code == 200
    expected = b64encode(b"us@er:se:cret")
    assert b"\r\nProxy-Authorization: Basic " + expected + b"\r\n" in proxy.heads[0]
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("url", ["", "socks5://127.0.0.1:1080", "http://", "http://127.0.0.1:99999"])
async def test_a_proxy_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|[Pp]ort"):
        async with sending(EgressPolicy(proxy_url=url)):
            pass


async def test_a_proxy_behind_tls_carries_plain_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    tls = authority.server_context(tmp_path, "shop.example")
    async with (
        serving(answering(OK)) as plain,
        serving(answering(OK), tls=tls) as secure,
        proxying(tls=authority.server_context(tmp_path, "127.0.0.1")) as proxy,
    ):
        proxy.targets.update({f"{PUBLIC}:80": plain.port, f"{PUBLIC}:443": secure.port})
        async with sending(through(proxy)) as sender:
            for url in ("http://shop.example/", "https://shop.example/") * 2:
                answer = await sender.send(request(url))
                assert (answer.status_code, answer.error) == (200, None), answer.error_detail
        monkeypatch.delenv("SSL_CERT_FILE")
        async with sending(through(proxy)) as sender:
            answer = await sender.send(request("http://shop.example/"))
            assert answer.error == SendError.CONNECT_FAILED
            assert "proxy" in answer.error_detail
    assert (plain.connections, secure.connections) == (1, 1)


async def test_a_receiver_that_breaks_tls_inside_the_tunnel() -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.reader.read(100)  # type: ignore[attr-defined]
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closes(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.reader.read(1)  # type: ignore[attr-defined]

    for behaviour in (no_tls, closes):
        async with serving(behaviour) as server, proxying() as proxy, sending(through(proxy)) as sender:
            proxy.targets[f"{PUBLIC}:443"] = server.port
            answer = await sender.send(request("https://shop.example/", timeout_s=5.0))
            assert (answer.status_code, answer.error) == (None, SendError.TLS_FAILED), answer.error_detail
