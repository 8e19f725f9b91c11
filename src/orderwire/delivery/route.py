"""From a request's text to where it goes and the bytes that are sent, or a refusal (pure).

What of it differs from request to request is done for each (`wire`); what follows from the URL is done once (`plan`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from orderwire.delivery.exchange import HttpRequest, TlsOptions

if TYPE_CHECKING:
    from orderwire.delivery.connection import Connection

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
PORT_HTTP, PORT_HTTPS = 80, 443

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+")  # a name, or what stood in brackets
_OURS = rb"(?i:host|content-length|transfer-encoding|connection|upgrade|expect|te|trailer)"
_HEADER_RULE = (
    "a header is not a `name: value` line of ASCII without control characters, or one that is not the caller's to set"
)
_REST = rb":[\t -~]*\r\n"  # RFC 9110 5.5, without obs-text
_LINES = re.compile(rb"(?:((?i:accept)%b)|(?!%b:)[!#$%%&'*+\-.^_`|~0-9A-Za-z]+%b)*" % (_REST, _OURS, _REST))


class Identity(NamedTuple):
    """The certificates of a connection, by content: equal ones may share it, others never do."""

    client_cert_pem: bytes | None
    client_key_pem: bytes | None
    ca_pem: bytes | None

    @classmethod
    def of(cls, options: TlsOptions) -> Identity:
        """Those of a request's options."""
        return cls(options.client_cert_pem, options.client_key_pem, options.ca_pem)


class Origin:
    """Where connections go: they are shared only within one origin.

    `host` is what is looked up, `server_name` what a certificate must be for. `idle` are its connections at rest, the
    last used last; the pool's.
    """

    __slots__ = ("host", "identity", "idle", "port", "secure", "server_name")

    def __init__(self, host: str, port: int, *, secure: bool, identity: Identity | None) -> None:
        self.host = host
        self.server_name = host.removesuffix(".")
        self.port = port
        self.secure = secure
        self.identity = identity
        self.idle: dict[Connection, None] = {}


class Target:
    """A URL taken apart: the key of its origin, and the request's first lines."""

    __slots__ = ("head", "host", "port", "secure")

    def __init__(self, url: str, method: str) -> None:
        """Raises ValueError, saying what is wrong with the URL or the method."""
        if method not in METHODS:
            raise ValueError("the method is not one of " + ", ".join(sorted(METHODS)))
        if not _URL.fullmatch(url) or "\\" in url:
            raise ValueError("its URL holds spaces, control characters, backslashes or non-ASCII characters")
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if "@" in parts.netloc or not _HOST.fullmatch(host) or port == 0:
            raise ValueError("its URL has no host, or one that cannot be used, or a user name")
        self.host = host
        self.secure = parts.scheme == "https"
        usual = PORT_HTTPS if self.secure else PORT_HTTP
        self.port = port or usual
        name = host.removesuffix(".")
        name = f"[{name}]" if ":" in name else name
        place = name if self.port == usual else f"{name}:{self.port}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.head = f"{method} {path} HTTP/1.1\r\nHost: {place}\r\n".encode("ascii")


class Route:
    """All that follows from a request's URL, method and TLS options."""

    __slots__ = ("_bodiless", "_head", "is_head", "origin")

    def __init__(self, origin: Origin, head: bytes, method: str) -> None:
        self.origin = origin
        self.is_head = method == "HEAD"
        self._head = head
        self._bodiless = method not in _METHODS_WITH_BODY

    def wire(self, request: HttpRequest) -> bytes:
        """The request as it goes over the wire. Raises ValueError where a header must not be sent like that."""
        headers, body = request.headers, request.body
        lines = "\r\n".join([*headers, ""]).encode("ascii")
        found = _LINES.fullmatch(lines)
        if found is None or lines.count(b"\n") != len(headers):
            raise ValueError(_HEADER_RULE)
        accept = b"Accept: */*\r\n" if found[1] is None else b""
        if not body and self._bodiless:
            return b"%b%b%b\r\n" % (self._head, lines, accept)
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (self._head, lines, accept, len(body), body)
