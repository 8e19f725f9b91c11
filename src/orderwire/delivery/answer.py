"""What an answer's bytes say beside their framing (pure): which head counts, its status, how its body ends.

llhttp, which does the framing, tells neither where a head's bytes are nor that a body lasts until the connection ends.
"""

from __future__ import annotations

import re
import ssl

from orderwire.delivery.exchange import SendError

NOT_HTTP = "the receiver did not answer with valid HTTP"

_BLANK_LINE = b"\r\n\r\n"
_H = ord("H")
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d ([2-9]\d\d)(?=[ \r\n])[^\r\n]*\r?\n")
_FRAMED = re.compile(rb"\r\n(?:content-length:|transfer-encoding:[^\r\n]*chunked[ \t]*\r\n)", re.IGNORECASE)


def final_head(received: bytes | bytearray, interims: int, *, complete: bool) -> bytes:
    """The status line and header lines that count, behind `interims` interim answers; as far as they came."""
    if interims or (received and received[0] != _H):  # line breaks before a head are allowed (RFC 9112 2.2)
        for _ in range(interims):
            received = received.lstrip(b"\r\n").partition(_BLANK_LINE)[2]
        received = received.lstrip(b"\r\n")
    return bytes(received[: received.find(_BLANK_LINE) + 4]) if complete else bytes(received)


def status_of(head: bytes) -> int | None:
    """The status of an incomplete head, None where its status line is not complete or not a final one."""
    found = _STATUS_LINE.match(head)
    return int(found[1]) if found else None


def ends_with_connection(head: bytes) -> bool:
    """Whether the body lasts until the connection is closed (RFC 9112 6.3)."""
    return _FRAMED.search(head) is None


def loss(exc: Exception | None, *, begun: bool, headed: bool) -> tuple[SendError, str]:
    """What a connection's end means before the answer had `begun`, before it was `headed`, or after."""
    if isinstance(exc, ssl.SSLError) and not begun:
        return SendError.TLS_FAILED, f"the receiver refused the TLS connection: {exc.reason or exc}"
    when = "without an answer"
    if begun:
        when = "before its answer was complete" if headed else "in the middle of its headers"
    why = f": {exc}" if exc is not None else ""
    return SendError.CONNECTION_LOST, f"the receiver closed the connection {when}{why}"
