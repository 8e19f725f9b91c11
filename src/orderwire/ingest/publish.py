"""The body of `POST /v1/events` and `/batch`: JSON text -> PublishRequest, or a refusal naming the field.

First step of a published event's way. `data` stays the very bytes that came in (DECISIONS.md 11), checked to be
JSON that every reader understands alike; everything else is held to CONTRACT.md, "Limits and bad input".
"""

import re
from typing import NoReturn

import msgspec

from orderwire.clock import from_rfc3339
from orderwire.errors import FieldError, Invalid, OrderwireError, TooLarge
from orderwire.ingest.jsontext import DEPTH_MAX, check
from orderwire.model import (
    EVENT_TYPE_CHARS_MAX,
    EVENT_TYPE_PATTERN,
    OPERATIONAL_PREFIX,
    SUBJECT_CHARS_MAX,
    SUPPLIED_ID_PATTERN,
    Value,
)

DATA_BYTES_MAX = 256 * 1024
ENVELOPE_BYTES_MAX = 16 * 1024  # what may stand around `data`
BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 8 * 1024 * 1024
DESTINATION_CHARS_MAX = 64

_TYPE = re.compile(EVENT_TYPE_PATTERN)
_ID = re.compile(SUPPLIED_ID_PATTERN)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ENVELOPE_DEPTH = 1  # `data` may nest DEPTH_MAX levels wherever it stands


class PublishRequest(Value, frozen=True, kw_only=True):
    """One event as its publisher asked for it. `data` is JSON text; `id` and `time_at` None: ours to choose."""

    type: str
    data: bytes
    id: str | None = None
    subject: str | None = None
    time_at: int | None = None
    destination: str | None = None


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    data: msgspec.Raw
    id: str | None = None
    subject: str | None = None
    time: str | None = None
    destination: str | None = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode


def parse_publish(raw: bytes) -> PublishRequest:
    """One event. Raises Malformed (not strict JSON), Invalid (422, names the field) or TooLarge."""
    if len(raw) > DATA_BYTES_MAX + ENVELOPE_BYTES_MAX:
        raise TooLarge(f"an event's data may have at most {DATA_BYTES_MAX} bytes")
    check(raw, depth_max=DEPTH_MAX + _ENVELOPE_DEPTH)
    try:
        envelope = _decode_envelope(raw)
    except msgspec.ValidationError as error:
        _refuse_shape(error)
    data = bytes(envelope.data)
    if len(data) > DATA_BYTES_MAX:
        raise TooLarge(f"data: at most {DATA_BYTES_MAX} bytes", (FieldError("data", "too large"),))
    require_type(envelope.type)
    if envelope.id is not None and not _ID.fullmatch(envelope.id):
        raise Invalid.field("id", "must be 1 to 64 of A-Z a-z 0-9 _ -")
    if envelope.subject is not None:
        require_subject(envelope.subject)
    if envelope.destination is not None and not 0 < len(envelope.destination) <= DESTINATION_CHARS_MAX:
        raise Invalid.field("destination", "must be the id of a destination")
    return PublishRequest(
        type=envelope.type,
        data=data,
        id=envelope.id,
        subject=envelope.subject,
        time_at=None if envelope.time is None else parse_time(envelope.time),
        destination=envelope.destination,
    )


def parse_batch(raw: bytes) -> list[PublishRequest]:
    """Up to BATCH_EVENTS_MAX events, all good or none: the first bad one is named (`events[1].type`)."""
    if len(raw) > BATCH_BYTES_MAX:
        raise TooLarge(f"a batch may have at most {BATCH_BYTES_MAX} bytes")
    events = _split_batch(raw)
    if not events:
        raise Invalid.field("events", "must hold at least one event")
    if len(events) > BATCH_EVENTS_MAX:
        raise TooLarge(
            f"events: at most {BATCH_EVENTS_MAX} in one batch",
            (FieldError("events", f"{len(events)} events, at most {BATCH_EVENTS_MAX}"),),
        )
    requests = []
    for number, event in enumerate(events):
        try:
            requests.append(parse_publish(event))
        except OrderwireError as error:
            raise _named(error, f"events[{number}]") from error
    return requests


def require_type(value: str, path: str = "type") -> None:
    """Refuse what is no event type, and the operational prefix. Raises Invalid."""
    if len(value) > EVENT_TYPE_CHARS_MAX or not _TYPE.fullmatch(value):
        raise Invalid.field(
            path,
            f"must be dot-separated parts of a-z 0-9 _, at most {EVENT_TYPE_CHARS_MAX} characters, e.g. order.created",
        )
    if value.startswith(OPERATIONAL_PREFIX):
        raise Invalid.field(path, f"the prefix {OPERATIONAL_PREFIX} is Orderwire's own")


def require_subject(value: str, path: str = "subject") -> None:
    """Refuse an empty or overlong subject and control characters. Raises Invalid."""
    if not 0 < len(value) <= SUBJECT_CHARS_MAX:
        raise Invalid.field(path, f"must have 1 to {SUBJECT_CHARS_MAX} characters")
    if not value.isprintable() and _CONTROL.search(value):
        raise Invalid.field(path, "must not hold control characters")


def parse_time(value: str, path: str = "time") -> int:
    """RFC 3339 with an offset, years 1970 to 9999 -> microseconds. Raises Invalid."""
    try:
        return from_rfc3339(value)
    except ValueError as error:
        raise Invalid.field(path, str(error)) from None


def _split_batch(raw: bytes) -> list[bytes]:
    """The events' own bytes. Beside them the body has exactly one colon, or `events` was there twice."""
    try:
        events = [bytes(event) for event in _decode_batch(raw).events]
    except msgspec.ValidationError as error:
        check(raw, depth_max=DEPTH_MAX + 3 * _ENVELOPE_DEPTH)
        _refuse_shape(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = []
    if not events or raw.count(b":") != 1 + sum(event.count(b":") for event in events):
        check(raw, depth_max=DEPTH_MAX + 3 * _ENVELOPE_DEPTH)
    return events


def _refuse_shape(error: msgspec.ValidationError) -> NoReturn:
    """Turn msgspec's words (``Expected `str`, got `int` - at `$.type` ``) into a path and a message."""
    message, _, where = str(error).partition(" - at `$")
    path = where.rstrip("`").removeprefix(".")
    for what in ("Object contains unknown field `", "Object missing required field `"):
        if message.startswith(what):
            name = message.removeprefix(what).rstrip("`")
            path = f"{path}.{name}" if path else name
            message = "unknown field" if "unknown" in what else "required"
    message = message[:1].lower() + message[1:]
    raise Invalid.field(path, message) from error


def _named(error: OrderwireError, path: str) -> OrderwireError:
    fields = error.errors or (FieldError("", error.detail),)
    within = tuple(FieldError(f"{path}.{one.path}" if one.path else path, one.message) for one in fields)
    detail = f"{path}.{error.detail}" if error.errors and error.errors[0].path else f"{path}: {error.detail}"
    return type(error)(detail, within)
