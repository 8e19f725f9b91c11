"""Mapping a provider's JSON to the catalogue, written as tables of picks.

A pick takes a field out of the provider's object and makes it canonical; a Shape is a struct with a pick for each
field; a Fact says which event a topic is. What cannot be mapped exactly is never refused and never guessed: the
event then comes in as `KIND.topic` with the original as its data and `origin.normalisation_error`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from orderwire.commerce.structs import Canonical
from orderwire.model import SUBJECT_CHARS_MAX
from orderwire.sources.base import UNKNOWN_TOPIC, Notice, foreign_type
from orderwire.sources.picks import Pick, Unmappable, at, listed, text, time_at

ERROR_CHARS_MAX = 200
_HOLE = re.compile(r"\{(\w+)\}")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder().encode


def read_exact(body: bytes) -> Any:
    """Parse checked JSON with every number exact: ids beyond 2^53 as int, decimals as Decimal."""
    return _decode(body)


@dataclass(frozen=True)
class Shape:
    """A canonical struct and how each of its fields is picked."""

    struct: type[Canonical]
    picks: Mapping[str, Pick]
    required: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Know the struct's required fields."""
        needed = frozenset(one.name for one in msgspec.structs.fields(self.struct) if one.required)
        object.__setattr__(self, "required", needed)

    def __call__(self, source: Any, currency: str | None) -> Any:
        """Build it. Raises Unmappable naming the field."""
        if not isinstance(source, dict):
            raise Unmappable("not an object")
        values = {}
        for name, pick in self.picks.items():
            try:
                values[name] = pick(source, currency)
            except ValueError as error:
                raise Unmappable(f"{name}: {error}") from error
            if values[name] is None and name in self.required:
                raise Unmappable(f"{name}: missing")
        return self.struct(**values)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What a topic means. `type` may depend on the object (None: it has no name in the catalogue).

    `subject`: templates over the built struct's fields, the first that can be filled. `contradiction`: what in the
    object says that the (unsigned) topic is not true.
    """

    type: str | Callable[[Any], str | None]
    shape: Shape
    subject: tuple[str, ...]
    currency: tuple[str, ...] = ("currency",)
    time: tuple[str, ...] = ("updated_at", "created_at")
    contradiction: Callable[[Any], str | None] = lambda _: None


def tell(
    kind: str, topic: str, fact: Fact | None, about: Any, body: bytes, default_currency: str | None = None
) -> Notice:
    """The event for a topic about an object; `body` is the data where the catalogue has no word for it."""
    told, problem = None, None
    try:
        told = _told(topic, fact, about, default_currency) if fact else None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        problem = str(error)[:ERROR_CHARS_MAX]
    if told:
        return told
    return Notice(
        type=foreign_type(kind, topic or UNKNOWN_TOPIC),
        data=body.strip(),
        topic=topic,
        origin={"normalisation_error": problem} if problem else {},
    )


def _told(topic: str, fact: Fact, about: Any, default_currency: str | None) -> Notice | None:
    event_type = fact.type if isinstance(fact.type, str) else fact.type(about)
    if event_type is None:
        return None
    contradiction = fact.contradiction(about)
    if contradiction:
        raise Unmappable(contradiction)
    currency = text(*fact.currency)(about, None) or default_currency
    built = fact.shape(about, currency.upper() if currency else None)
    return Notice(
        type=event_type,
        data=_encode(built),
        topic=topic,
        subject=_subject(fact.subject, built),
        time_at=time_at(about, *fact.time),
    )


def one(path: str, shape: Shape) -> Pick:
    """A nested object; left out where it is not there or says nothing of its own."""

    def pick(source: Any, currency: str | None) -> Any:
        value = at(source, path)
        if not isinstance(value, dict) or any(shape.picks[name](value, currency) is None for name in shape.required):
            return None
        built = shape(value, currency)
        return built if any(getattr(built, name) is not None for name in shape.picks) else None

    return pick


def many(path: str, shape: Shape) -> Pick:
    """A list of objects; empty where it is not there."""

    def pick(source: Any, currency: str | None) -> list[Any]:
        return [shape(value, currency) for value in listed(source, path)]

    return pick


def _subject(templates: tuple[str, ...], built: Any) -> str | None:
    for template in templates:
        filled = {name: getattr(built, name) for name in _HOLE.findall(template)}
        if all(filled.values()):
            subject = template.format_map(filled)
            if len(subject) <= SUBJECT_CHARS_MAX and subject.isprintable():
                return subject
    return None
