"""From a request's text to its bytes: what is sent, and what is refused before anything is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.delivery.exchange import HttpRequest, TlsOptions
from orderwire.delivery.route import Identity, Origin, Route, Target

ORIGIN = Origin("shop.example", 80, secure=False, identity=None)


def wire(*headers: str, method: str = "POST", body: bytes = b"{}", url: str = "http://shop.example/hook") -> bytes:
    """The bytes of such a request."""
    return Route(ORIGIN, Target(url, method).head, method).wire(
        HttpRequest(url, body, list(headers), 1.0, None, method)
    )


@pytest.mark.parametrize(
    ("url", "path", "host", "goes_to"),
    [
        ("http://shop.example", "/", "shop.example", ("shop.example", 80, False)),
        ("https://shop.example", "/", "shop.example", ("shop.example", 443, True)),
        ("HTTPS://Shop.Example:443/A?b=C&d", "/A?b=C&d", "shop.example", ("shop.example", 443, True)),
        ("https://shop.example:8443/a/../b//c;d", "/a/../b//c;d", "shop.example:8443", ("shop.example", 8443, True)),
        ("http://shop.example:443?x=%0d%0a", "/?x=%0d%0a", "shop.example:443", ("shop.example", 443, False)),
        ("http://shop.example./x#fragment", "/x", "shop.example", ("shop.example.", 80, False)),
        ("http://[2606:4700::1111]:8080/", "/", "[2606:4700::1111]:8080", ("2606:4700::1111", 8080, False)),
        ("http://my_shop.example/", "/", "my_shop.example", ("my_shop.example", 80, False)),
    ],
)
def test_where_urls_lead(url: str, path: str, host: str, goes_to: tuple[str, int, bool]) -> None:
    target = Target(url, "POST")
    assert target.head == f"POST {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
    assert (target.host, target.port, target.secure) == goes_to


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://:80/",
        "http://shop.example:0/",
        "http://shop.example:65536/",
        "http://shop.example:8o/",
        "http://shop.example:-1/",
        "http://user@shop.example/",
        "http://user:secret@shop.example/",
        "http://@shop.example/",
        "http://shop.example\\@inside.example/",
        "http://shop.example/a b",
        "http://shop.example/\r\nx: y",
        "http://shop.example/\tx",
        "http://shop\n.example/",
        "http://shop.example/\0",
        "http://shop.example/ü",
        "http://bücher.example/",
        "http://%31%32%37.0.0.1/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[shop.example]/",
        "http://-/",
        "http://.shop.example/",
        "http://shop.example,inside.example/",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Target(url, "POST")


@given(st.text(max_size=60))
def test_no_url_smuggles_a_line(text: str) -> None:
    try:
        head = Target("http://shop.example/" + text, "GET").head
    except ValueError:
        return
    assert head.count(b"\n") == 2
    assert head.count(b" ") == 3
    assert head.isascii()


@pytest.mark.parametrize("method", ["", "post", "CONNECT", "TRACE", "OPTIONS", "GET /x HTTP/1.1\r\nx:"])
def test_methods_that_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        Target("http://shop.example/", method)


def test_the_bytes_of_a_request() -> None:
    assert wire("content-type: application/json", "x-one:\ta b ") == (
        b"POST /hook HTTP/1.1\r\nHost: shop.example\r\ncontent-type: application/json\r\nx-one:\ta b \r\n"
        b"Accept: */*\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert wire(body=b"") == b"POST /hook HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n"
    assert wire(body=b"", method="GET") == b"GET /hook HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n"
    assert wire("x: y", "ACCEPT: text/plain", body=b"", method="HEAD") == (
        b"HEAD /hook HTTP/1.1\r\nHost: shop.example\r\nx: y\r\nACCEPT: text/plain\r\n\r\n"
    )
    assert b"\r\nAccept: */*\r\n" in wire("accept-language: de")
    assert wire(body=b"\0\xff", method="DELETE").endswith(b"Content-Length: 2\r\n\r\n\0\xff")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        ": y",
        "x y: z",
        "x : y",
        " x: y",
        "x: y\r\n",
        "x: y\r\nz: a",
        "x: y\nz: a",
        "x: y\rz: a",
        "x: \0",
        "x: \x7f",
        "x: é",
        "é: x",
        "(x): y",
        "host: inside.example",
        "Host: inside.example",
        "CONTENT-LENGTH: 0",
        "Transfer-Encoding: chunked",
        "connection: close",
        "Upgrade: h2c",
        "expect: 100-continue",
        "te: trailers",
        "trailer: x",
    ],
)
def test_headers_that_are_refused(line: str) -> None:
    for headers in ((line,), ("a: b", line), (line, "a: b"), ("accept: x", line)):
        with pytest.raises(ValueError, match=r"header|ascii"):
            wire(*headers)


@pytest.mark.parametrize("line", ["hostess: x", "x-host: y", "content-length-x: 1", "ten: x", "x:", "x:y:z"])
def test_headers_that_only_look_like_ours(line: str) -> None:
    assert f"\r\n{line}\r\n".encode() in wire(line)


@given(st.lists(st.text(max_size=40) | st.just("accept: a"), max_size=6))
def test_no_header_smuggles_a_line(headers: list[str]) -> None:
    try:
        sent = wire(*headers)
    except ValueError:
        return
    head, _, body = sent.partition(b"\r\n\r\n")
    assert body == b"{}"
    lines = head.split(b"\r\n")
    accepts = any(line.lower().startswith("accept:") for line in headers)
    assert len(lines) == len(headers) + (3 if accepts else 4)
    assert all(b"\r" not in line and b"\n" not in line for line in lines)


def test_many_headers_are_checked_in_one_go() -> None:
    assert len(wire(*(f"x-{number}: {'v' * 100}" for number in range(5000)))) > 500_000


def test_certificates_are_the_same_by_content() -> None:
    one, other = TlsOptions(b"cert", b"key", b"ca"), TlsOptions(b"cert", b"key", b"ca")
    assert Identity.of(one) == Identity.of(other)
    assert len({Identity.of(TlsOptions(*parts)) for parts in ((b"a", None, None), (None, b"a", None), ())}) == 3
