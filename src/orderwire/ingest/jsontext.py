"""Strict JSON: whether bytes from outside are JSON text that every reader understands alike.

Stands before everything that keeps or forwards a body. Refuses what parsers disagree on (RFC 8259 sections 4, 8
and 9): bad UTF-8, repeated keys, NaN, lone surrogates, deep nesting, numbers no double can hold. A fast test at C
speed accepts nearly all bodies; whatever it is not sure of, the exact parser decides. Both agree (property-tested).
"""

import json
import re
from typing import Any, NoReturn

import msgspec

from orderwire.errors import FieldError, Malformed

DEPTH_MAX = 64
PATH_CHARS_MAX = 200
_NESTING = "nested too deeply"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_SURROGATE = re.compile("[\ud800-\udfff]")

# Where a value stands: a link to its parent's place, and its key or index. As texts, the places of a long array deep
# down would be gigabytes.
_Place = tuple["_Place | None", str | int]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def check(raw: bytes, *, depth_max: int = DEPTH_MAX) -> object:
    """Parse `raw` strictly; floats may be rounded (the caller keeps the bytes). Raises Malformed with the path.

    Two thirds of its time is the parsing itself (benchmarks/README.md).
    """
    try:
        value = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return exact(raw, depth_max=depth_max)
    if _surely_unique(raw, value) and _surely_shallow(raw, value, depth_max):
        return value
    return exact(raw, depth_max=depth_max)


def exact(raw: bytes, *, depth_max: int = DEPTH_MAX) -> object:
    """What `check` promises, ten times slower, and able to say where it hurts."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        _refuse("", f"not UTF-8 at byte {error.start}")
    try:
        value = _EXACT.decode(text)
    except RecursionError:
        _refuse("", f"{_NESTING} (at most {depth_max} levels)")
    except json.JSONDecodeError as error:
        _refuse("", f"not JSON: {error.msg} at line {error.lineno} column {error.colno}")
    _search(value, depth_max)
    return value


# -- the fast test: both halves may say no to good text, neither says yes to bad ----------------------------------


def _surely_unique(raw: bytes, value: object) -> bool:
    """Whether the text has as many colons as the parsed value written again at C speed.

    Each key costs one, those inside strings are kept (only an escape could add or hide one), so a repeated key,
    which the value lost, leaves the text with more.
    """
    if b"\\" in raw and (b"\\u003a" in raw or b"\\u003A" in raw):
        return False
    return raw.count(b":") == _encode(value).count(b":")


def _surely_shallow(raw: bytes, value: Any, depth_max: int) -> bool:
    if raw.count(b"{") + raw.count(b"[") <= depth_max:
        return True
    level = [value]
    for _ in range(depth_max):
        parents, level = level, []
        for parent in parents:
            children = parent.values() if parent.__class__ is dict else parent
            level += [child for child in children if child.__class__ is dict or child.__class__ is list]
        if not level:
            return True
    return False


# -- the exact parser: faults become markers in the tree, so that a second walk can name their path ---------------


class _Fault:
    """Stands in the parsed tree where something is wrong; `key` where it is wrong with one of its keys."""

    __slots__ = ("key", "message")

    def __init__(self, message: str, key: str | None = None) -> None:
        self.message = message
        self.key = key


def _object(pairs: list[tuple[str, object]]) -> object:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Fault("repeated key", key)
        seen.add(key)
    return made


def _integer(digits: str) -> object:
    try:
        return int(digits)
    except ValueError:  # beyond sys.get_int_max_str_digits()
        return _Fault("an integer with too many digits")


def _float(digits: str) -> object:
    value = float(digits)
    return value if abs(value) != float("inf") else _Fault("a number out of range")


_EXACT = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=lambda name: _Fault(f"{name} is not JSON"),
)


def _search(root: object, depth_max: int) -> None:
    """Refuse at the first fault, in no particular order of the text."""
    open_values: list[tuple[_Place | None, object, int]] = [(None, root, 1)]
    while open_values:
        place, value, depth = open_values.pop()
        if isinstance(value, _Fault):
            _refuse(_text(place if value.key is None else (place, value.key)), value.message)
        if isinstance(value, str):
            _refuse_surrogate(place, value)
        if not isinstance(value, dict | list):
            continue
        if depth > depth_max:
            _refuse(_text(place), f"{_NESTING} (at most {depth_max} levels)")
        if isinstance(value, list):
            open_values.extend(((place, i), child, depth + 1) for i, child in enumerate(value))
            continue
        for key, child in value.items():
            _refuse_surrogate((place, key), key)
            open_values.append(((place, key), child, depth + 1))


def _refuse_surrogate(place: _Place | None, text: str) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        _refuse(_text(place), "half of a surrogate pair (an escape that is no character)")


def _text(place: _Place | None) -> str:
    """`events[1].data["odd key"]`."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    path = ""
    for step in reversed(steps):
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step[:64])}]"
    return path


def _refuse(path: str, message: str) -> NoReturn:
    if len(path) > PATH_CHARS_MAX:
        path = path[: PATH_CHARS_MAX - 3] + "..."
    detail = f"{path}: {message}" if path else message
    raise Malformed(detail, (FieldError(path, message),) if path else ())
