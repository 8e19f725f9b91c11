"""One HTTP exchange as values: the request handed to the `Sender`, and the answer that comes back.

Stands between `attempt` (builds the request, judges the answer) and `connection` (carries it out). An answer is always
given, whatever happened; `error` is None exactly when the whole answer (or its first 64 KiB) arrived.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

BODY_KEPT_BYTES_MAX = 16 * 1024
BODY_READ_BYTES_MAX = 64 * 1024
HEADER_BYTES_MAX = 64 * 1024
HEADER_COUNT_MAX = 100
HEADER_VALUE_CHARS_MAX = 4096


class SendError(StrEnum):
    """Why there is no whole answer."""

    TIMEOUT = "timeout"
    CONNECT_FAILED = "connect_failed"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    BLOCKED_ADDRESS = "blocked_address"
    BLOCKED_SCHEME = "blocked_scheme"
    CONNECTION_LOST = "connection_lost"
    BAD_ANSWER = "bad_answer"
    BAD_REQUEST = "bad_request"
    ABORTED = "aborted"
    INTERNAL = "internal"


class TlsOptions(msgspec.Struct, frozen=True, eq=False):
    """A destination's own certificates, PEM, inline (no tenant names a file).

    `ca_pem` replaces the public authorities. The key must not be encrypted. A connection made with one set of options
    is never used for another.
    """

    client_cert_pem: bytes | None = None
    client_key_pem: bytes | None = None
    ca_pem: bytes | None = None


class HttpRequest(msgspec.Struct, eq=False):
    """One request to send.

    `headers` are complete ASCII lines (`name: value`), `content-type` among them where there is a body. `timeout_s`
    covers everything from the first lookup to the last byte of the answer. `tag` is the caller's own (hashable),
    comes back untouched, and names the request in `Sender.abort`. A request object is in flight at most once at a time.

    A request that meets a kept connection which its receiver is just closing is sent again on a fresh one. Where that
    must not be (nothing tells whether the first was read), `at_most_once` gives it a fresh connection to begin with.
    """

    url: str
    body: bytes
    headers: list[str]
    timeout_s: float
    tls: TlsOptions | None = None
    method: str = "POST"
    tag: object = None
    at_most_once: bool = False


class HttpAnswer(msgspec.Struct, eq=False):
    """How one request ended.

    `status_code` is there whenever a final status line arrived, even when `error` says that the rest did not.
    `body` is the first 16 KiB of what the receiver sent, `body_truncated` whether there was more. `error_detail` is a
    sentence for people, without secrets. `started_at_us` is unix time.
    """

    status_code: int | None
    raw_headers: bytes
    body: bytes
    body_truncated: bool
    error: SendError | None
    error_detail: str
    started_at_us: int
    duration_ms: float
    connected_address: str | None = None

    def header(self, name: str) -> str | None:
        """The first header of that name (any case), None when absent."""
        wanted = name.lower()
        return next((value for key, value in self.headers() if key == wanted), None)

    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case and values, in order; at most 100 of them, values cut at 4,096 characters."""
        lines = self.raw_headers.split(b"\r\n\r\n", 1)[0].split(b"\n")[1 : HEADER_COUNT_MAX + 1]
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        return [(name.strip().lower(), value.strip()[:HEADER_VALUE_CHARS_MAX]) for name, colon, value in pairs if colon]
