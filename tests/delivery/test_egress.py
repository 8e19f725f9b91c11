"""Which addresses and URLs may be reached."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.delivery.egress import EgressPolicy, url_problem

STRICT = EgressPolicy()
LOCAL = EgressPolicy((ipaddress.ip_network("127.0.0.0/8"),))

REFUSED = """
    127.0.0.1 127.255.255.254 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 169.254.169.254
    100.64.0.1 100.127.255.255 0.0.0.0 0.1.2.3 192.0.0.1 192.0.0.9 192.0.2.7 198.51.100.7 203.0.113.7 198.18.0.1
    198.19.255.255 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    ::1 :: fe80::1 fe80::1%eth0 febf::1 fec0::1 fc00::1 fd00:ec2::254 fdff::1 ff02::1 2001:db8::1 3fff::1 100::1
    2001::1 5f00::1 4000::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 ::127.0.0.1 ::10.0.0.1
    2002:7f00:1::1 2002:a00:1:: 2002:a9fe:a9fe::1 2001:0:7f00:1::1
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::808:808 64:ff9b:1:7f00:1::
""".split()  # noqa: SIM905 - reads better than fifty quoted strings
REACHABLE = """
    8.8.8.8 1.1.1.1 172.32.0.1 172.15.255.255 100.63.255.255 100.128.0.1 11.0.0.1 192.0.1.1 198.20.0.1 223.255.255.255
    2606:4700:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
""".split()  # noqa: SIM905 - the same


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    reason = STRICT.check(address)
    assert reason is not None
    assert "ORDERWIRE_ALLOW_NETWORKS" in reason
    assert str(ipaddress.ip_address(address.partition("%")[0])) in reason


@pytest.mark.parametrize("address", REACHABLE)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert STRICT.check(address) is None


@pytest.mark.parametrize("word", ["localhost", "", "127.1", "0x7f000001", "2130706433", "1.2.3.4:80"])
def test_what_is_not_an_address_is_refused(word: str) -> None:
    assert STRICT.check(word) is not None
    assert LOCAL.check(word) is not None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
)
def test_an_allowed_network_is_reachable_in_whatever_wrapping(address: str) -> None:
    assert LOCAL.check(address) is None


@pytest.mark.parametrize("address", ["::1", "10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_allowing_one_network_allows_no_other(address: str) -> None:
    assert LOCAL.check(address) is not None


def test_an_allowed_ipv6_network_is_reachable() -> None:
    policy = EgressPolicy((ipaddress.ip_network("fd00::/8"),))
    assert policy.check("fd12::1") is None
    assert policy.check("fe80::1") is not None


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_reachable(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    wraps = isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.sixtofour)
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and address not in ipaddress.ip_network("64:ff9b::/96"))
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )
    if special and not wraps:
        assert STRICT.check(address) is not None
    if STRICT.check(address) is None and not wraps:
        assert address.is_global


@given(st.ip_addresses(v=4))
def test_wrapping_an_ipv4_address_changes_nothing(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    refused = STRICT.check(address) is not None
    for wrapped in (
        (0xFFFF << 32) | number,  # ::ffff:a.b.c.d
        (0x0064_FF9B << 96) | number,  # 64:ff9b::a.b.c.d
        (0x2002 << 112) | (number << 80) | 1,  # 2002:ab:cd::1
    ):
        assert (STRICT.check(ipaddress.IPv6Address(wrapped)) is not None) == refused


@given(st.ip_addresses(), st.integers(0, 32))
def test_whatever_is_in_an_allowed_network_is_reachable(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    policy = EgressPolicy((ipaddress.ip_network(f"{address}/{prefix}", strict=False),))
    assert policy.check(address) is None
    assert policy.check(str(address)) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?a=b&c=%20d",
        "HTTPS://EXAMPLE.com:8443/",
        "https://xn--bcher-kva.example/ü".replace("ü", "%C3%BC"),
        "https://[2606:4700::1111]:443/x",
        "https://8.8.8.8/",
        "https://my_host.example./",
    ],
)
def test_good_urls(url: str) -> None:
    assert url_problem(url, allow_http=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "//example.com/hook",
        "/hook",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https:///hook",
        "https://:443/",
        "https://?x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:/",
        "https://example.com:65536/",
        "https://example.com:-1/",
        "https://example.com:http/",
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com/a b",
        "https://example.com/\r\nx: y",
        "https://example.com/\0",
        "https://example.com/\x7f",
        "https://exämple.com/",
        "https://example.com\\@evil.example/",
        "https://exa%6dple.com/",
        "https://example..com/",
        "https://-example.com/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[example.com]/",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_bad_urls(url: str) -> None:
    assert url_problem(url, allow_http=True) is not None


def test_plain_http_only_where_allowed() -> None:
    assert url_problem("http://example.com/", allow_http=True) is None
    assert "ORDERWIRE_ALLOW_HTTP" in (url_problem("http://example.com/", allow_http=False) or "")


@given(st.text())
def test_any_text_is_judged_without_raising(text: str) -> None:
    url_problem(text, allow_http=True)
    url_problem("https://" + text, allow_http=False)
