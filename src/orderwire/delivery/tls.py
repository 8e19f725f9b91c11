"""TLS contexts for the way out: whom we trust, and with which certificate of our own we appear.

Verification and the host name check are always on, TLS 1.2 is the least, HTTP/1.1 is all we offer to speak. No tenant
names a file: their PEM is inline, and reaches OpenSSL, which reads certificates from files only, through memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from orderwire.delivery.exchange import SendError
from orderwire.delivery.flight import SendFailure
from orderwire.delivery.route import Identity

CONTEXTS_MAX = 256  # about a megabyte each where it holds the public authorities


class Contexts:
    """One `ssl.SSLContext` for each identity, made when first asked for; the longest unused are dropped."""

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._made: OrderedDict[Identity | None, ssl.SSLContext] = OrderedDict()

    async def of(self, identity: Identity | None) -> ssl.SSLContext:
        """The context for `identity` (None: the public authorities, no certificate of our own).

        Raises SendFailure where the certificates cannot be used.
        """
        context = self._made.get(identity)
        if context is None:
            try:
                # Reading the public authorities takes tens of milliseconds: not on the loop.
                context = self._made[identity] = await asyncio.to_thread(_new_context, identity, self._ca_file)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                detail = "the certificates to trust, or this destination's own, cannot be used"
                raise SendFailure(SendError.TLS_FAILED, f"{detail}: {_reason(error)}") from error
            if len(self._made) > CONTEXTS_MAX:
                self._made.popitem(last=False)
        self._made.move_to_end(identity)
        return context


def handshake_failure(error: OSError) -> SendFailure:
    """What a handshake that ended with `error` means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"the receiver's certificate is not trusted for this host: {error.verify_message or error.reason}"
    elif isinstance(error, ssl.SSLError):
        detail = f"the TLS handshake failed: {_reason(error)}"
    else:
        detail = f"the receiver closed the connection during the TLS handshake: {error}".rstrip(": ")
    return SendFailure(SendError.TLS_FAILED, detail)


def public_authorities_file() -> str | None:
    """The file of certificate authorities to trust: SSL_CERT_FILE, the system's, or the package certifi's."""
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if named and Path(named).exists():
        return named
    with contextlib.suppress(ImportError):
        where: Callable[[], str] = importlib.import_module("certifi").where
        return where()
    return None


def _new_context(identity: Identity | None, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if identity is not None and identity.ca_pem is not None:
        context.load_verify_locations(cadata=identity.ca_pem.decode("ascii"))
    elif ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    if identity is not None and (identity.client_cert_pem is not None or identity.client_key_pem is not None):
        _load_own(context, identity)
    return context


def _load_own(context: ssl.SSLContext, identity: Identity) -> None:
    if not identity.client_cert_pem or identity.client_key_pem == b"":
        raise ValueError("a client certificate or key is empty")
    with _in_memory(identity.client_cert_pem) as certificate, _in_memory(identity.client_key_pem) as key:
        # The password is for an encrypted key: OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate or "", key, password="")


@contextlib.contextmanager
def _in_memory(pem: bytes | None) -> Iterator[str | None]:
    """The path of a file in memory that only this process can open, while it is needed."""
    if pem is None:
        yield None
        return
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if isinstance(reason, str) else str(error)
