"""One reusable place for a request in flight: a libcurl easy handle with its fixed options set once.

The engine takes a `Transfer` from its pool, calls `prepare`, adds the handle to the multi, and calls `answer` when
libcurl is done. Callbacks run inside libcurl, so none of them raises. Only what differs from the last request is set.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

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

CONNECT_TIMEOUT_S_MAX = 10.0
DNS_CACHE_S = 30
CONNECTION_IDLE_S_MAX = 60
CONNECTION_AGE_S_MAX = 300
BODY_HELD_BYTES_MAX = 16 * 1024  # a pooled handle keeps at most this much of the last request's body
EXPECT_FREE_BYTES = 512 * 1024  # libcurl adds `Expect: 100-continue` to bodies above 1 MiB
STATUS_FINAL_MIN = 200
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_REFUSED_SOCKET = pycurl.SOCKET_BAD
_WRITE_ERROR = 23
_COULD_NOT_CONNECT = 7
_CLOSE_ON_EXEC = socket.SOCK_CLOEXEC


class Transfer:
    """An easy handle and what it gathers. Used by one thread; `pooled` says whether it may be used again."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_guarded",
        "_head",
        "_method",
        "_opened",
        "_policy",
        "_refusal",
        "_setopt",
        "_timeout_s",
        "_url",
        "curl",
        "pooled",
        "request",
        "started_at_us",
    )

    request: HttpRequest

    def __init__(self, policy: EgressPolicy, *, ca_file: str | None, http2: bool, tls: TlsOptions | None) -> None:
        self.curl: Any = pycurl.Curl()
        self._setopt: Callable[[int, object], None] = self.curl.setopt
        self._policy = policy
        self._guarded = policy.proxy_url is None
        self.pooled = tls is None
        self._head = BytesIO()
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refusal: str | None = None
        self._opened = 0
        self._method = "POST"
        self._timeout_s = 0.0
        self._url = ""
        self.started_at_us = 0
        _set_fixed_options(self._setopt, ca_file=ca_file, http2=http2)
        self._setopt(pycurl.HEADERFUNCTION, self._head.write)
        self._setopt(pycurl.WRITEFUNCTION, self._take_body)
        self._setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self._set_proxy()
        if tls is not None:
            _set_tls(self.curl, tls)

    def prepare(self, request: HttpRequest, *, timeout_s: float, connect_to: str | None = None) -> None:
        """Make the handle ready to send `request`. Raises ValueError, UnicodeError or pycurl.error when it cannot be sent."""
        setopt = self._setopt
        self.request = request
        if request.url != self._url:
            setopt(pycurl.URL, request.url)
            self._url = request.url
        headers = request.headers
        if "\n" in (text := "".join(headers)) or "\r" in text or "\0" in text:
            raise ValueError("a header holds a line break or NUL")
        body = request.body
        if len(body) > EXPECT_FREE_BYTES:
            headers = [*headers, "Expect:"]
        setopt(pycurl.HTTPHEADER, headers)
        if request.method != "POST" or self._method != "POST":
            self._set_method(request.method, has_body=bool(body))
        if body or self._method in _METHODS_WITH_BODY:
            setopt(pycurl.POSTFIELDS, body)
        if timeout_s != self._timeout_s:
            setopt(pycurl.TIMEOUT_MS, max(1, int(timeout_s * 1000)))
            setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(min(timeout_s, CONNECT_TIMEOUT_S_MAX) * 1000)))
            self._timeout_s = timeout_s
        if connect_to is not None:
            setopt(pycurl.CONNECT_TO, [connect_to])

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
        if len(head) > HEADER_BYTES_MAX:
            head, error = head[:HEADER_BYTES_MAX], SendError.BAD_ANSWER
            detail = f"the receiver's headers are too large (more than {HEADER_BYTES_MAX} bytes)"
        return HttpAnswer(
            status,
            head,
            body,
            self._body_bytes > BODY_KEPT_BYTES_MAX,
            error,
            detail,
            self.started_at_us,
            getinfo(pycurl.TOTAL_TIME) * 1000.0,
            getinfo(pycurl.PRIMARY_IP) or None,
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

    def _open_socket(self, _purpose: int, target: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        """libcurl is about to connect to this very address: the last and only place where it can be judged."""
        try:
            family, kind, protocol, address = target
            if self._guarded:
                refusal = self._policy.check(address[0])
                if refusal is not None:
                    self._refusal = refusal
                    return _REFUSED_SOCKET
            self._opened += 1
            return socket.socket(family, kind | _CLOSE_ON_EXEC, protocol)
        except Exception as error:  # noqa: BLE001 - inside libcurl nothing may be raised; no socket means no connection
            self._refusal = f"the address could not be checked ({type(error).__name__})"
            return _REFUSED_SOCKET

    def _judge(self, code: int, message: str) -> tuple[SendError, str]:
        if self._refusal is not None and code == _COULD_NOT_CONNECT and self._opened == 0:
            return SendError.BLOCKED_ADDRESS, self._refusal
        error, detail = describe(code, message)
        if self._refusal is not None:
            detail = f"{detail} (and not tried: {self._refusal})"
        return error, detail

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

    def _set_proxy(self) -> None:
        setopt = self._setopt
        proxy = self._policy.proxy_url
        setopt(pycurl.PROXY, proxy or "")  # set, even to nothing: unset, libcurl would read the environment
        setopt(pycurl.NOPROXY, "" if proxy else "*")
        if proxy:
            setopt(pycurl.HTTPPROXYTUNNEL, 1)


def _set_fixed_options(setopt: Callable[[int, object], None], *, ca_file: str | None, http2: bool) -> None:
    setopt(pycurl.NOSIGNAL, 1)
    setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    setopt(pycurl.REDIR_PROTOCOLS, 0)
    setopt(pycurl.FOLLOWLOCATION, 0)
    setopt(pycurl.PATH_AS_IS, 1)
    setopt(pycurl.TCP_NODELAY, 1)
    setopt(pycurl.NETRC, 0)
    setopt(pycurl.DNS_CACHE_TIMEOUT, DNS_CACHE_S)
    setopt(pycurl.MAXAGE_CONN, CONNECTION_IDLE_S_MAX)
    setopt(pycurl.MAXLIFETIME_CONN, CONNECTION_AGE_S_MAX)
    setopt(pycurl.HTTP09_ALLOWED, 0)
    setopt(pycurl.SSL_VERIFYPEER, 1)
    setopt(pycurl.SSL_VERIFYHOST, 2)
    setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
    setopt(pycurl.POST, 1)
    version = pycurl.CURL_HTTP_VERSION_2TLS if http2 else pycurl.CURL_HTTP_VERSION_1_1
    setopt(pycurl.HTTP_VERSION, version)
    if ca_file is not None:
        setopt(pycurl.CAINFO, ca_file)


def _set_tls(curl: Any, tls: TlsOptions) -> None:
    if tls.client_cert_pem is not None:
        curl.setopt(pycurl.SSLCERT_BLOB, tls.client_cert_pem)
        curl.setopt(pycurl.SSLCERTTYPE, "PEM")
    if tls.client_key_pem is not None:
        curl.setopt(pycurl.SSLKEY_BLOB, tls.client_key_pem)
        curl.setopt(pycurl.SSLKEYTYPE, "PEM")
    if tls.ca_pem is not None:
        curl.unsetopt(pycurl.CAINFO)
        curl.unsetopt(pycurl.CAPATH)
        curl.setopt(pycurl.CAINFO_BLOB, tls.ca_pem)
