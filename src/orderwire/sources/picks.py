"""Picks: each takes one field out of a provider's object and makes it canonical, or says why it cannot.

A pick is called with the object and its currency. Nothing there: None. There, but with no exact canonical form:
Unmappable. Paths are dotted (`customer.id`, `transactions.0.id`); of several, the first that holds something counts.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from orderwire.clock import INSTANT_MAX, SECOND, from_rfc3339, to_rfc3339
from orderwire.money import Money, exponent, money, scaled

Pick = Callable[[Any, str | None], Any]


class Unmappable(ValueError):
    """A field is missing, or of a kind that has no exact canonical form."""


def same(kind: Callable[[str], Pick], *names: str) -> dict[str, Pick]:
    """Fields that the provider calls as we do."""
    return {name: kind(name) for name in names}


def at(source: Any, path: str) -> Any:
    """The value at a dotted path (`customer.id`, `transactions.0.id`), or None."""
    for step in path.split("."):
        if isinstance(source, dict):
            source = source.get(step)
        elif isinstance(source, list) and step.isdigit():
            source = source[int(step)] if int(step) < len(source) else None
        else:
            return None
    return source


def first(source: Any, *paths: str) -> Any:
    """The first of the paths that holds something."""
    for path in paths:
        value = at(source, path)
        if value is not None and value != "":
            return value
    return None


def text(*paths: str) -> Pick:
    """A text; a whole number becomes its digits, so ids are exact."""

    def pick(source: Any, _: str | None) -> str | None:
        value = first(source, *paths)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise Unmappable("neither a text nor a whole number")

    return pick


def code(*paths: str) -> Pick:
    """A currency code, in upper case."""
    return lambda source, _: (text(*paths)(source, None) or "").upper() or None


def whole(*paths: str) -> Pick:
    """A whole number."""

    def pick(source: Any, _: str | None) -> int | None:
        value = first(source, *paths)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise Unmappable("not a whole number")

    return pick


def flag(*paths: str) -> Pick:
    """True or false."""

    def pick(source: Any, _: str | None) -> bool | None:
        value = first(source, *paths)
        if value is None or isinstance(value, bool):
            return value
        raise Unmappable("neither true nor false")

    return pick


def reference(*paths: str) -> Pick:
    """The id of another object, which may stand there itself instead (Stripe's expanded fields)."""

    def pick(source: Any, _: str | None) -> str | None:
        value = first(source, *paths)
        found: str | None = text("id")(value if isinstance(value, dict) else {"id": value}, None)
        return found

    return pick


def instant(*paths: str) -> Pick:
    """RFC 3339 text or unix seconds -> RFC 3339 in UTC; left out where it is neither."""

    def pick(source: Any, _: str | None) -> str | None:
        found = time_at(source, *paths)
        return None if found is None else to_rfc3339(found)

    return pick


def amount(*paths: str) -> Pick:
    """A decimal amount in the object's currency; left out where no currency is known."""

    def pick(source: Any, currency: str | None) -> Money | None:
        value = first(source, *paths)
        return None if value is None or currency is None else money(value, currency)

    return pick


def minor(*paths: str, exponents: Mapping[str, int]) -> Pick:
    """An amount already in minor units; `exponents`: where the provider's differ from ISO 4217."""

    def pick(source: Any, currency: str | None) -> Money | None:
        value = whole(*paths)(source, None)
        if value is None or currency is None:
            return None
        iso = exponent(currency)
        return Money(scaled(Decimal(value), iso - exponents.get(currency, iso)), currency)

    return pick


def no_list(_: Any, __: str | None) -> list[Any]:
    """For a list the provider does not tell here."""
    return []


def texts(path: str) -> Pick:
    """A list of texts; empty where it is not there."""
    return lambda source, _: [str(value) for value in listed(source, path) if isinstance(value, str | int)]


def time_at(source: Any, *paths: str) -> int | None:
    """The first instant at `paths` (RFC 3339 or unix seconds) in microseconds, years 1970 to 9999."""
    for path in paths:
        value = at(source, path)
        try:
            if isinstance(value, int) and not isinstance(value, bool):
                found = value * SECOND
            elif isinstance(value, str):
                found = from_rfc3339(value)
            else:
                continue
        except (ValueError, OverflowError):
            continue
        if 0 <= found <= INSTANT_MAX:
            return found
    return None


def by(path: str, names: Mapping[str, str], otherwise: str | None = None) -> Callable[[Any], str | None]:
    """The event type that the word at `path` stands for."""
    return lambda source: names.get(str(at(source, path)), otherwise)


def listed(source: Any, path: str) -> list[Any]:
    """The list at `path`, empty where nothing is there. Raises Unmappable where something else is."""
    value = at(source, path)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unmappable("not a list")
    return value
