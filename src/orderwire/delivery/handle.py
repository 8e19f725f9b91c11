"""How a libcurl easy handle of ours is set up: the options every request shares, TLS, the proxy, and header lines.

Sources: https://curl.se/libcurl/c/curl_easy_setopt.html. Nothing is read from the environment, a file of the user's, or
an earlier answer.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pycurl

from orderwire.delivery.egress import EgressPolicy
from orderwire.delivery.exchange import TlsOptions

DNS_CACHE_S = 30  # longer than the resolver's, so that what it told libcurl is there while it counts on it
CONNECTION_IDLE_S_MAX = 60
CONNECTION_AGE_S_MAX = 300

_CONTENT_TYPE = "content-type:"
_UNKNOWN_TO_LIBCURL = frozenset("uUwWxX")  # first letters of header names
_SOCKET_IS_FINE: int = pycurl.SOCKOPT_OK


def new_handle(policy: EgressPolicy, *, ca_file: str | None, http2: bool, tls: TlsOptions | None) -> Any:
    """A handle for POST with everything set that does not differ between requests.

    Raises ValueError where `tls` holds something empty.
    """
    curl = pycurl.Curl()
    _set_fixed_options(curl, http2=http2)
    _set_proxy(curl, policy.proxy_url)
    if ca_file is not None:
        curl.setopt(pycurl.CAINFO, ca_file)
    if tls is not None:
        _set_tls(curl, tls)
    return curl


def header_lines(headers: list[str]) -> list[str]:
    """What to give libcurl for these header lines: one string where it can be, for each item costs it 1.5 us.

    libcurl sends items verbatim (https://curl.se/libcurl/c/CURLOPT_HTTPHEADER.html) but compares each one's beginning
    with every header it would add itself. So lines it has no word of its own for (`webhook-`, `x-`, `user-agent`) ride
    behind a leading `content-type`.
    """
    text = "\r\n".join(headers)
    breaks = len(headers) - 1 if headers else 0
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a header holds a line break or NUL")
    if not headers or headers[0][: len(_CONTENT_TYPE)].lower() != _CONTENT_TYPE:
        return headers
    for line in headers[1:]:
        if line[:1] not in _UNKNOWN_TO_LIBCURL:
            return headers
    return [text]


def _set_fixed_options(curl: Any, *, http2: bool) -> None:
    setopt = curl.setopt
    setopt(pycurl.NOSIGNAL, 1)
    setopt(pycurl.USERAGENT, "")  # pycurl names itself otherwise
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
    setopt(pycurl.SOCKOPTFUNCTION, _keep_from_children)


def _keep_from_children(fd: int, _purpose: int) -> int:
    """pycurl's duplicate would be inherited by processes we start (sandboxes): it must not."""
    with contextlib.suppress(OSError):
        os.set_inheritable(fd, False)
    return _SOCKET_IS_FINE


def _set_proxy(curl: Any, proxy_url: str | None) -> None:
    curl.setopt(pycurl.PROXY, proxy_url or "")  # set, even to nothing: unset, libcurl would read the environment
    curl.setopt(pycurl.NOPROXY, "" if proxy_url else "*")
    if proxy_url:
        curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)


def _set_tls(curl: Any, tls: TlsOptions) -> None:
    if b"" in (tls.client_cert_pem, tls.client_key_pem, tls.ca_pem):
        raise ValueError("a client certificate, key or CA is empty")
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
