"""A provider's request -> events, or the reason why not.

First step of a source's way: size and encoding, handshake, proof, strict JSON, then what it says. The proof comes
before the body is parsed. Whatever is wrong with the proof, the answer is the same; the log has the reason.
"""

import msgspec

from orderwire.errors import TooLarge, UnsupportedMedia
from orderwire.ids import new_id
from orderwire.ingest.jsontext import check
from orderwire.model import Event, RawBody, Source, Value
from orderwire.sources.base import BadSignature, Handshake, InboundRequest, Notice, SourceKind
from orderwire.sources.mapping import read_exact

BODY_BYTES_MAX = 8 * 1024 * 1024
# Not kept: they may carry somebody's credentials, and prove nothing.
HEADERS_DROPPED = frozenset({"authorization", "proxy-authorization", "cookie"})

__all__ = ["BadSignature", "Handshake", "InboundRequest", "Received", "receive"]


class Received(Value, frozen=True, kw_only=True):
    """What a verified request told: events to accept, all or none."""

    events: tuple[Event, ...]


def receive(
    source: Source, kind: SourceKind, request: InboundRequest, now_us: int, *, body_bytes_max: int = BODY_BYTES_MAX
) -> Received | Handshake:
    """The events of a request, or the answer to a handshake.

    Raises TooLarge, UnsupportedMedia (a compressed body), BadSignature (401, its `reason` for the log only) and
    Malformed (signed, but not strict JSON).
    """
    if len(request.body) > body_bytes_max:
        raise TooLarge(f"a webhook's body may have at most {body_bytes_max} bytes")
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia("compressed bodies are not taken: send the bytes that were signed")
    handshake = kind.handshake(source, request)
    if handshake is not None:
        return handshake
    kind.verify(source, request, now_us)
    check(request.body)
    notices = kind.notices(source, request, read_exact(request.body), now_us)
    raw = _raw(request)
    return Received(events=tuple(_event(source, notice, raw, now_us) for notice in notices))


def _event(source: Source, notice: Notice, raw: RawBody, now_us: int) -> Event:
    told = {"provider": source.kind, "topic": notice.topic, **notice.origin}
    origin = {name: value for name, value in told.items() if isinstance(value, str | int) and value != ""}
    return Event(
        id=new_id("evt", now_us),
        tenant=source.tenant,
        type=notice.type,
        data=notice.data,
        time_at=now_us if notice.time_at is None else notice.time_at,
        received_at=now_us,
        subject=notice.subject,
        source_id=source.id,
        trust=notice.trust,
        origin=msgspec.json.encode(origin).decode(),
        keys=notice.keys,
        raw=raw,
    )


def _raw(request: InboundRequest) -> RawBody:
    kept = {name: value for name, value in request.headers.items() if name not in HEADERS_DROPPED}
    return RawBody(
        content_type=request.headers.get("content-type", "application/octet-stream"),
        headers=msgspec.json.encode(kept).decode(),
        body=request.body,
    )
