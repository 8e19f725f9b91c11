"""One reusable place for a request in flight: a libcurl easy handle with its fixed options set once.

The engine takes a `Transfer` from its pool, calls `prepare`, adds the handle to the multi, and calls `answer` when
libcurl is done. Callbacks run inside libcurl, so none of them raises. Only what differs from the last request is set.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import pycurl

from orderwire.delivery.egress import EgressPolicy
from orderwire.delivery.exchange import (
    BODY_KEPT_BYTES_MAX,
    BODY_READ_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpAnswer,
    HttpRequest,
    SendError,
    TlsOptions,
)
from orderwire.delivery.failure import describe
from orderwire.delivery.handle import header_lines, new_handle
from orderwire.delivery.resolver import Lookup

CONNECT_TIMEOUT_S_MAX = 10.0
BODY_HELD_BYTES_MAX = 16 * 1024  # a pooled handle keeps at most this much of the last request's body
EXPECT_FREE_BYTES = 512 * 1024  # libcurl adds `Expect: 100-continue` to bodies above 1 MiB
STATUS_FINAL_MIN = 200
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_REFUSED_SOCKET: int = pycurl.SOCKET_BAD
_WRITE_ERROR = 23
_COULD_NOT_CONNECT = 7


class _Lent(socket.socket):
    """A socket pycurl duplicates and then drops; closed at once, for the duplicate is the one that lives."""

    def __del__(self) -> None:
        self.close()


class Way(NamedTuple):
    """How to get to a host: what was found out about it, after `waited_s`; `via` is what a proxy shall connect to."""

    lookup: Lookup
    port: int
    waited_s: float
    via: str | None = None


class Transfer:
    """An easy handle and what it gathers. Used by one thread; `pooled` says whether it may be used again."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_checked",
        "_guarded",
        "_head",
        "_method",
        "_opened",
        "_policy",
        "_refusal",
        "_setopt",
        "_timeout_s",
        "_url",
        "_waited_ms",
        "curl",
        "pooled",
        "request",
        "started_at_us",
        "started_s",
    )

    request: HttpRequest

    def __init__(self, policy: EgressPolicy, *, ca_file: str | None, http2: bool, tls: TlsOptions | None) -> None:
        self.curl: Any = new_handle(policy, ca_file=ca_file, http2=http2, tls=tls)
        self._setopt: Callable[[int, object], None] = self.curl.setopt
        self._policy = policy
        self._guarded = policy.proxy_url is None
        self.pooled = tls is None
        self._head = BytesIO()
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refusal: str | None = None
        self._opened = 0
        self._checked: str | None = None
        self._method = "POST"
        self._timeout_s = 0.0
        self._url = ""
        self._waited_ms = 0.0
        self.started_at_us = 0
        self.started_s = 0.0
        self._setopt(pycurl.HEADERFUNCTION, self._head.write)
        self._setopt(pycurl.WRITEFUNCTION, self._take_body)
        self._setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)

    def prepare(self, request: HttpRequest, started_at_us: int, way: Way | None) -> None:
        """Make the handle ready to send `request`; `way` only where libcurl does not know the host's address by now.

        Raises ValueError, TypeError or pycurl.error when it cannot be sent.
        """
        setopt = self._setopt
        self.request = request
        self.started_at_us = started_at_us
        self.started_s = time.monotonic()
        if request.url != self._url:
            setopt(pycurl.URL, request.url)
            self._url = request.url
        body = request.body
        lines = header_lines(request.headers)
        setopt(pycurl.HTTPHEADER, lines if len(body) <= EXPECT_FREE_BYTES else [*lines, "Expect:"])
        if request.method != "POST" or self._method != "POST":
            self._set_method(request.method, has_body=bool(body))
        if body or self._method in _METHODS_WITH_BODY:
            setopt(pycurl.POSTFIELDS, body)
        timeout_s = request.timeout_s if way is None else self._take_way(way, request.timeout_s)
        if timeout_s != self._timeout_s:
            setopt(pycurl.TIMEOUT_MS, max(1, int(timeout_s * 1000)))
            setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(min(timeout_s, CONNECT_TIMEOUT_S_MAX) * 1000)))
            self._timeout_s = timeout_s

    def answer(self, code: int, message: str) -> HttpAnswer:
        """What came of it: `code` 0 or libcurl's error code with its message."""
        getinfo = self.curl.getinfo
        status: int | None = getinfo(pycurl.RESPONSE_CODE)
        if status is not None and status < STATUS_FINAL_MIN:
            status = None
        head = self._head.getvalue()
        if b"\r\n\r\nHTTP/" in head:  # interim (1xx) answers or the proxy's own came first
            head = head[head.rindex(b"\r\n\r\nHTTP/") + 4 :]
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        error: SendError | None = None
        detail = ""
        if code != 0 and not (code == _WRITE_ERROR and self._body_bytes > BODY_READ_BYTES_MAX and status is not None):
            error, detail = self._judge(code, message)
        elif b"\n\r\n" not in head and b"\n\n" not in head:  # libcurl calls this a success
            error, detail = SendError.CONNECTION_LOST, "the receiver closed the connection in the middle of its headers"
        if len(head) > HEADER_BYTES_MAX:
            head, error = head[:HEADER_BYTES_MAX], SendError.BAD_ANSWER
            detail = f"the receiver's headers are too large (more than {HEADER_BYTES_MAX} bytes)"
        return HttpAnswer(
            status,
            head if status is not None else b"",  # else it is the proxy's, or an interim answer's
            body,
            self._body_bytes > BODY_KEPT_BYTES_MAX,
            error,
            detail,
            self.started_at_us,
            self._waited_ms + getinfo(pycurl.TOTAL_TIME) * 1000.0,
            self._checked or getinfo(pycurl.PRIMARY_IP) or None,
        )

    def rest(self) -> None:
        """Forget the request, so that an idle handle holds neither its memory nor its secrets."""
        head = self._head
        head.seek(0)
        head.truncate()
        self._body = []
        self._body_bytes = 0
        self._refusal = None
        self._opened = 0
        if len(self.request.body) > BODY_HELD_BYTES_MAX:
            self._setopt(pycurl.POSTFIELDS, b"")
        if self._waited_ms:
            self._waited_ms = 0.0
            self.curl.unsetopt(pycurl.RESOLVE)
        del self.request

    def close(self) -> None:
        """Free the handle; it must not be in a multi."""
        self.curl.close()

    def _take_body(self, data: bytes) -> int:
        room = BODY_KEPT_BYTES_MAX - self._body_bytes
        self._body_bytes += len(data)
        if room > 0:
            self._body.append(data if len(data) <= room else data[:room])
        return len(data) if self._body_bytes <= BODY_READ_BYTES_MAX else 0

    def _open_socket(self, _purpose: int, target: tuple[int, int, int, tuple[str, int]]) -> _Lent | int:
        """libcurl is about to connect to this very address: the last and only place where it can be judged."""
        try:
            family, kind, protocol, address = target
            if self._guarded:
                refusal = self._policy.check(address[0])
                if refusal is not None:
                    self._refusal = refusal
                    return _REFUSED_SOCKET
            self._opened += 1
            return _Lent(family, kind, protocol)
        except Exception as error:  # noqa: BLE001 - nothing may be raised inside libcurl; no socket, no connection
            self._refusal = f"the address could not be checked ({type(error).__name__})"
            return _REFUSED_SOCKET

    def _judge(self, code: int, message: str) -> tuple[SendError, str]:
        if self._refusal is not None and code == _COULD_NOT_CONNECT and self._opened == 0:
            return SendError.BLOCKED_ADDRESS, self._refusal
        error, detail = describe(code, message)
        if self._refusal is not None:
            detail = f"{detail} (and not tried: {self._refusal})"
        return error, detail

    def _take_way(self, way: Way, timeout_s: float) -> float:
        """Tell libcurl where the host is; what is left of the timeout, in seconds."""
        self._waited_ms = max(way.waited_s * 1000, 0.001)
        if way.via is not None:
            # Empty host and port match every host, however libcurl spells it: it cannot go anywhere unchecked.
            self._checked = way.via
            self._setopt(pycurl.CONNECT_TO, [f"::{_in_brackets(way.via)}:{way.port}"])
        elif way.lookup.until_s != math.inf:  # an address written out needs no telling
            host = way.lookup.host.removesuffix(".")
            self._setopt(pycurl.RESOLVE, [f"+{host}:{way.port}:{','.join(way.lookup.addresses)}"])
        return max(timeout_s - way.waited_s, 0.001)

    def _set_method(self, method: str, *, has_body: bool) -> None:
        if method not in METHODS:
            raise ValueError("the method is not one of " + ", ".join(sorted(METHODS)))
        setopt, curl = self._setopt, self.curl
        setopt(pycurl.NOBODY, 0)
        curl.unsetopt(pycurl.CUSTOMREQUEST)
        self._method = method
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        elif has_body or method in _METHODS_WITH_BODY:
            setopt(pycurl.POST, 1)
        else:
            setopt(pycurl.HTTPGET, 1)
        if method not in ("GET", "HEAD", "POST") or (method == "GET" and has_body):
            setopt(pycurl.CUSTOMREQUEST, method)


def _in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address
