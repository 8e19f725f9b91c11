"""Standard Webhooks 1.0, `v1` (HMAC) and `v1a` (Ed25519): many services' form, and what Orderwire itself sends.

`webhook-id` is the dedupe key. A body `{type, timestamp, subject, data}` is taken over as it is, `data` byte for byte;
a foreign `type` that breaks our pattern, or claims our operational prefix, comes in under `standard.`.
Source: standard-webhooks/standard-webhooks spec/standard-webhooks.md.
"""

import re
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from orderwire import signing
from orderwire.clock import SECOND
from orderwire.model import (
    EVENT_TYPE_CHARS_MAX,
    EVENT_TYPE_PATTERN,
    OPERATIONAL_PREFIX,
    SUBJECT_CHARS_MAX,
    Source,
)
from orderwire.sources import recipes
from orderwire.sources.base import (
    InboundRequest,
    Notice,
    SourceKind,
    foreign_type,
    seen_once,
)
from orderwire.sources.picks import time_at

PUBLIC_KEY_BYTES = 32
_TYPE = re.compile(EVENT_TYPE_PATTERN)


class _Body(msgspec.Struct):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Body).decode


def _verify(source: Source, request: InboundRequest, now_us: int) -> None:
    secrets = [secret for secret in source.secrets if _check_secret(secret) is None]
    public = [secret for secret in secrets if secret.startswith(signing.PUBLIC_PREFIX)]
    if not public or not _verified_by_key(public, request, now_us):
        recipes.verify(recipes.STANDARD, (secret for secret in secrets if secret not in public), request, now_us)


def _verified_by_key(public: list[str], request: InboundRequest, now_us: int) -> bool:
    text = recipes.first_header(recipes.STANDARD.headers, request)
    message_id = recipes.first_header(("webhook-id",), request)
    stamp = recipes.check_timestamp(request.headers.get("webhook-timestamp", ""), signing.TOLERANCE_S, now_us)
    candidates = text.split(" ")[: recipes.SIGNATURES_MAX]
    signatures = " ".join(one for one in candidates if _is_canonical(one.partition(",")[2]))
    return any(signing.verify(key, message_id, stamp, request.body, signatures) for key in public)


def _notices(source: Source, request: InboundRequest, document: Any, now_us: int) -> tuple[Notice, ...]:
    told = document if isinstance(document, dict) else {}
    topic, subject, data = told.get("type"), told.get("subject"), request.body.strip()
    topic = topic if isinstance(topic, str) else ""
    if "type" in told and "data" in told:
        data = bytes(_decode(request.body).data)  # type: ignore[arg-type] # it is there: Raw
    message_id = request.headers["webhook-id"]
    return (
        Notice(
            type=topic if _ours(topic) else foreign_type("standard", topic),
            data=data,
            topic=topic,
            subject=subject if _subject_fits(subject) else None,
            time_at=time_at(told, "timestamp"),
            origin={"webhook_id": message_id},
            keys=(seen_once(source, "webhook_id", message_id, now_us),),
        ),
    )


def _ours(topic: str) -> bool:
    fits = len(topic) <= EVENT_TYPE_CHARS_MAX and _TYPE.fullmatch(topic) is not None
    return fits and not topic.startswith(OPERATIONAL_PREFIX)


def _subject_fits(subject: object) -> bool:
    return isinstance(subject, str) and 0 < len(subject) <= SUBJECT_CHARS_MAX and subject.isprintable()


def _check_secret(secret: str) -> str | None:
    if secret.startswith(signing.PRIVATE_PREFIX):
        return "this is the sender's private key; give the public one, whpk_..."
    if secret.startswith(signing.PUBLIC_PREFIX):
        key = secret.removeprefix(signing.PUBLIC_PREFIX)
        fits = _is_canonical(key) and len(b64decode(key)) == PUBLIC_KEY_BYTES
        return None if fits else "not a whpk_ public key of 32 bytes"
    try:
        signing.decode_symmetric(secret)
    except ValueError as error:
        return str(error)
    return None if _is_canonical(secret.removeprefix(signing.SYMMETRIC_PREFIX)) else "not canonical base64"


def _is_canonical(text: str) -> bool:
    """Whether it is the one base64 text of its bytes: the spare bits of the last character could hide a change."""
    try:
        return b64encode(b64decode(text, validate=True)).decode("ascii") == text
    except ValueError:
        return False


def sign(  # the seam's words, needed or not
    secret: str,
    body: bytes,
    now_us: int,
    *,
    topic: str = "",  # noqa: ARG001
    message_id: str = "",
) -> dict[str, str]:
    """All headers of a true delivery of `body`, with a `whsec_` secret or a `whsk_` private key."""
    stamp = now_us // SECOND
    signature = signing.signer(secret).sign(signing.signed_prefix(message_id, stamp), body)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature,
    }


KIND = SourceKind(
    kind="standard",
    title="Standard Webhooks",
    secret_hint="the endpoint's secret, whsec_..., or public key, whpk_...",  # noqa: S106
    check_secret=_check_secret,
    verify=_verify,
    notices=_notices,
    sign=sign,
)
