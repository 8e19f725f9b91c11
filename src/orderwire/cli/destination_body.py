"""What `destinations create` and `update` send, from their flags."""

from dataclasses import dataclass
from typing import Any

import msgspec
from cyclopts import Group, Parameter

from orderwire.cli.failures import Usage
from orderwire.cli.options import Words, json_object, pairs


@Parameter(name="*", group=Group("What it is like", sort_key=5))
@dataclass(frozen=True)
class Shape:
    """A destination as flags say it; None is left as it is.

    Parameters
    ----------
    name
        What people call it.
    events
        Types it wants, 'order.*' too: a comma list, or given several times.
    header
        NAME=VALUE: a header of its own; may be given several times.
    timeout_s
        Seconds the whole answer may take, 1 to 60.
    signing
        v1 (HMAC-SHA256) or v1a (Ed25519).
    payload
        standard, thin (without data) or cloudevents.
    ordering
        none, or subject: one subject's events one at a time, in order.
    concurrency
        Requests at once, 1 to 1000.
    per_second
        At most so many attempts a second.
    burst
        So many of them at once; goes with --per-second.
    schedule
        Seconds before each attempt: 0,5,300
    body
        A JSON object with any further fields: JSON, @file, or - for standard input.
    """

    name: str | None = None
    events: tuple[str, ...] | None = None
    header: tuple[str, ...] | None = None
    timeout_s: float | None = None
    signing: str | None = None
    payload: str | None = None
    ordering: str | None = None
    concurrency: int | None = None
    per_second: float | None = None
    burst: float | None = None
    schedule: str | None = None
    body: Words | None = None


UNSET = Shape()


def body_of(shape: Shape, url: str | None) -> dict[str, Any]:
    """The request's body: `--body`, and over it each flag that was given. Raises Usage."""
    made: dict[str, Any] = dict(json_object(shape.body, "--body")) if shape.body else {}
    config: dict[str, Any] = {}
    if "config" in made:
        config = dict(msgspec.json.decode(made["config"], type=dict[str, msgspec.Raw]))
    config |= _given(url=url, timeout_s=shape.timeout_s, signing=shape.signing, payload=shape.payload)
    if shape.header:
        config["headers"] = pairs(shape.header, "--header")
    made |= _given(name=shape.name, ordering=shape.ordering, concurrency=shape.concurrency)
    if shape.events:
        made["events"] = [type.strip() for item in shape.events for type in item.split(",")]
    if shape.burst is not None and shape.per_second is None:
        raise Usage("--burst goes with --per-second: both are one rate limit")
    if shape.per_second is not None:
        made["rate_limit"] = _given(per_second=shape.per_second, burst=shape.burst)
    if shape.schedule is not None:
        made["retry"] = {"schedule_s": _seconds(shape.schedule)}
    if config:
        made["config"] = config
    return made


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise Usage(f"--schedule {text!r} must be seconds with commas between, as 0,5,300") from None
