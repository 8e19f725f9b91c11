"""Who may be reached: the one rule that keeps tenants' URLs away from private networks (CONTRACT, guarantee 7).

`EgressPolicy.check` judges an address that is about to be connected to; every door out (HTTP here, SMTP, PostgreSQL
and S3 elsewhere) asks it on every new connection. `url_problem` judges the text of a URL when a destination is
written; it resolves nothing, so it never replaces the check at the socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

URL_CHARS_MAX = 2048
PORT_MAX = 65_535
HOST_CHARS_MAX = 253
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")

ALLOW_NETWORKS_SETTING = "ORDERWIRE_ALLOW_NETWORKS"
ALLOW_HTTP_SETTING = "ORDERWIRE_ALLOW_HTTP"

_METADATA = frozenset({IPv4Address("169.254.169.254"), IPv6Address("fd00:ec2::254")})

# The IANA special-purpose registries (RFC 6890 and its updates), most telling name first. Spelled out, because the
# `ipaddress` module's own list differs between patch releases of Python; `is_global` is asked after it all the same.
_REFUSED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(cidr), kind)
    for cidr, kind in (
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("169.254.0.0/16", "link-local"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("0.0.0.0/8", "unspecified"),
        ("192.0.0.0/24", "protocol assignment"),
        ("192.0.2.0/24", "documentation"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("198.18.0.0/15", "benchmarking"),
        ("192.88.99.0/24", "6to4 relay"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("100::/64", "discard-only"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("2001::/23", "protocol assignment"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
    )
)
_GLOBAL_V6 = ip_network("2000::/3")

# IPv6 networks whose addresses carry an IPv4 address: (network, how far right its lowest bit sits).
_EMBEDDING: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped, RFC 4291 2.5.5.2
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291 2.5.5.1
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)

_URL_CHARS = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the operator lets deliveries reach.

    `allow_networks` are reachable although not globally routable; `allow_http` permits plain `http://`; `proxy_url`
    is the operator's own egress proxy (trusted, exempt from the check: it is the target that is checked).
    """

    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_http: bool = False
    proxy_url: str | None = None

    def check(self, address: str | IPv4Address | IPv6Address) -> str | None:
        """Why `address` (an IP address, never a host name) must not be connected to; None when it may be."""
        try:
            ip = ip_address(address.partition("%")[0]) if isinstance(address, str) else address
        except ValueError:
            return f"{address!r} is not an IP address"
        inner = unwrap(ip)
        if self._is_allowed(ip) or (inner is not ip and self._is_allowed(inner)):
            return None
        kind = _refused_kind(inner)
        if kind is None:
            return None
        name = str(ip) if inner is ip else f"{ip} (that is {inner})"
        return f"{name} is a {kind} address; the operator may permit it in {ALLOW_NETWORKS_SETTING}"

    def scheme_problem(self, url: str) -> str | None:
        """Why this URL's scheme must not be used; None when it may be."""
        scheme = url[:8].lower()
        if scheme.startswith("https://"):
            return None
        if not scheme.startswith("http://"):
            return "only http:// and https:// URLs can be called"
        if self.allow_http:
            return None
        return f"plain http:// is refused; the operator may permit it with {ALLOW_HTTP_SETTING}=true"

    def _is_allowed(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self.allow_networks)


def unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside a mapped, translated, compatible, NAT64 or 6to4 IPv6 address; else `ip` itself."""
    if isinstance(ip, IPv4Address):
        return ip
    bits = int(ip)
    if bits <= 1:  # :: and ::1 are themselves, not IPv4-compatible addresses
        return ip
    for network, shift in _EMBEDDING:
        if ip in network:
            return IPv4Address((bits >> shift) & 0xFFFF_FFFF)
    return ip


def url_problem(url: str, *, allow_http: bool) -> str | None:
    """What is wrong with `url` as the address of a webhook, said to the person who typed it; None when fine.

    Pure: looks at the text only (absolute, http or https, a host, a port that exists, nothing hidden in it).
    """
    if len(url) > URL_CHARS_MAX:
        return f"the URL is longer than {URL_CHARS_MAX} characters"
    if not _URL_CHARS.fullmatch(url) or "\\" in url:
        return "the URL holds spaces, control characters, backslashes or non-ASCII characters; percent-encode them"
    if "#" in url:
        return "the URL must not have a fragment (#...); it would never be sent"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "the URL is malformed: its host or port cannot be read"
    if parts.scheme == "http" and not allow_http:
        return f"plain http:// is refused; use https:// (the operator may permit it with {ALLOW_HTTP_SETTING}=true)"
    if parts.scheme not in ("http", "https") or url[len(parts.scheme) : len(parts.scheme) + 3] != "://":
        return "the URL must begin with https://" + (" or http://" if allow_http else "")
    if port == 0 or parts.netloc.endswith(":"):
        return f"the URL's port must be between 1 and {PORT_MAX}"
    return _host_problem(parts.netloc, parts.hostname or "")


def _host_problem(netloc: str, host: str) -> str | None:
    if "@" in netloc:
        return "the URL must not hold a user name or password; use the destination's auth setting"
    if not host:
        return "the URL has no host"
    if "[" in netloc:
        try:
            IPv6Address(host)
        except ValueError:
            return "the URL's host is not an IPv6 address"
        return "the URL's host must not have a zone (%...)" if "%" in host else None
    if len(host) > HOST_CHARS_MAX or ".." in host or not HOST_NAME.fullmatch(host):
        return "the URL's host is not a host name or address"
    return None


def _refused_kind(ip: IPv4Address | IPv6Address) -> str | None:
    if ip in _METADATA:
        return "cloud metadata"
    for network, kind in _REFUSED:
        if ip in network:
            return kind
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_V6:
        return "reserved"
    return None if ip.is_global else "not globally routable"
