"""From libcurl's error codes to `SendError` and a sentence people understand.

The codes: https://curl.se/libcurl/c/libcurl-errors.html. libcurl's own message is appended: it names hosts, ports and
certificate facts, never header values or bodies.
"""

from __future__ import annotations

from orderwire.delivery.exchange import SendError

_DETAIL_CHARS_MAX = 400

_CONNECT = (SendError.CONNECT_FAILED, "could not connect")
_DNS = (SendError.DNS_FAILED, "the host name could not be resolved")
_TLS = (SendError.TLS_FAILED, "the TLS handshake failed")
_CERTIFICATE = (SendError.TLS_FAILED, "the receiver's certificate is not trusted for this host")
_OWN_CERTIFICATE = (SendError.TLS_FAILED, "the client certificate, key or CA of this destination cannot be used")
_LOST = (SendError.CONNECTION_LOST, "the receiver closed the connection before its answer was complete")
_BAD = (SendError.BAD_ANSWER, "the receiver did not answer with valid HTTP")
_REQUEST = (SendError.BAD_REQUEST, "the request cannot be sent as it is")

_BY_CODE: dict[int, tuple[SendError, str]] = {
    1: _BAD,  # UNSUPPORTED_PROTOCOL: an HTTP/0.9 answer (schemes are checked before)
    3: _REQUEST,  # URL_MALFORMAT
    5: (SendError.DNS_FAILED, "the egress proxy's name could not be resolved"),
    6: _DNS,
    7: _CONNECT,
    8: _BAD,  # WEIRD_SERVER_REPLY
    16: _LOST,  # HTTP2
    18: _LOST,  # PARTIAL_FILE
    28: (SendError.TIMEOUT, "the whole answer did not arrive in time"),
    35: _TLS,  # SSL_CONNECT_ERROR
    52: (SendError.CONNECTION_LOST, "the receiver closed the connection without an answer"),
    53: _TLS,
    54: _TLS,
    55: (SendError.CONNECTION_LOST, "the receiver closed the connection while the request was being sent"),
    56: _LOST,  # RECV_ERROR
    58: _OWN_CERTIFICATE,
    59: _TLS,
    60: _CERTIFICATE,
    61: _BAD,
    64: _TLS,
    66: _TLS,
    77: _OWN_CERTIFICATE,
    80: _TLS,
    82: _OWN_CERTIFICATE,
    83: _CERTIFICATE,
    90: _CERTIFICATE,
    91: _CERTIFICATE,
    92: _LOST,  # HTTP2_STREAM
    94: _LOST,
    97: (SendError.CONNECT_FAILED, "the egress proxy refused"),
    98: _TLS,  # SSL_CLIENTCERT
    100: (SendError.BAD_ANSWER, "the receiver's headers are too large"),
}
_UNKNOWN = (SendError.CONNECTION_LOST, "the transfer failed")
_RECV_ERROR = 56


def describe(code: int, message: str) -> tuple[SendError, str]:
    """The kind of failure and the sentence for libcurl's error `code` and its `message`."""
    kind, sentence = _BY_CODE.get(code, _UNKNOWN)
    if "CONNECT tunnel" in message:
        kind, sentence = SendError.CONNECT_FAILED, "the egress proxy refused to connect"
    elif code == _RECV_ERROR:
        kind, sentence = _describe_receive(message)
    detail = message.strip().rstrip(".")
    return kind, (f"{sentence}: {detail}" if detail else sentence)[:_DETAIL_CHARS_MAX]


def _describe_receive(message: str) -> tuple[SendError, str]:
    """libcurl gives one code to three different endings; only its words tell them apart (held by tests)."""
    text = message.lower()
    if "too large" in text or "too long" in text:
        return SendError.BAD_ANSWER, "the receiver's headers are too large"
    if "chunk" in text or "header" in text:
        return _BAD
    return _LOST
