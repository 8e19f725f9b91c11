"""Event patterns: which types a destination asked for.

`order.created` is that type; `order.*` is every type below `order`, at any depth; `*` is every type but the
operational ones (`orderwire.*`), which are sent only to those who name them.
"""

from collections.abc import Iterable

from orderwire.model import EVENT_TYPE_CHARS_MAX, OPERATIONAL_PREFIX

EVERYTHING = "*"
PATTERN_REGEX = r"^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?)$"
PATTERN_CHARS_MAX = EVENT_TYPE_CHARS_MAX + 2
_BELOW = ".*"


def matches(pattern: str, event_type: str) -> bool:
    """Whether one pattern takes a type."""
    if pattern == EVERYTHING:
        return not event_type.startswith(OPERATIONAL_PREFIX)
    if pattern.endswith(_BELOW):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


def matches_any(patterns: Iterable[str], event_type: str) -> bool:
    """Whether one of a destination's patterns takes a type."""
    return any(matches(pattern, event_type) for pattern in patterns)
