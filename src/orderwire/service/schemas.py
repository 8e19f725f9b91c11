"""Tenants' JSON Schemas, made harmless: nothing is fetched, patterns run in linear time, work has a bound.

A schema may refer only into itself (`#/$defs/...`) and not in circles: then it is known when it is written how many of
its keywords can meet one value of an event, and with the number of values that bounds the work of checking it.
"""

import re
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import islice, zip_longest
from typing import Any, NoReturn

import jsonschema_rs
import msgspec

from orderwire.errors import FieldError, Invalid

SCHEMA_BYTES_MAX = 64 * 1024
UNFOLDED_MAX = 5_000  # subschemas after every reference is followed
DEPTH_MAX = 200
WORK_MAX = 3_000_000  # keywords that can meet one value, times values in the data: some 0.3 s at the worst
LISTED_BYTES_MAX = 3_000_000  # values times bytes of schema and data: each problem has both. Beyond, one is told: the
# library finds all before it gives the first
PATTERN_WORK_MAX = 50_000_000  # weights of patterns times bytes of data: the same
PATTERN_BYTES_MAX = 1024 * 1024  # of one compiled pattern
DIVISOR_MIN = 1e-9  # of multipleOf: smaller ones are checked with numbers of hundreds of digits
PROBLEMS_MAX = 10
MESSAGE_CHARS_MAX = 300

_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"})
_UNUSED_UNTIL_REFERRED = frozenset({"$defs", "definitions"})
_BELOW = frozenset(  # keywords whose subschemas meet the values one level down
    {
        *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
        *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    }
)
_LOOKING_BESIDE = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_REPEAT_OR_GROUP = re.compile(r"\\.|[()]|\{(?:\d*,)?(\d*)\}", re.DOTALL)
_DATA = frozenset({"enum", "const", "default", "examples"})
_REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor"})


class Schema:
    """A compiled schema."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:  # noqa: FBT001 - a schema may be `true`
        """Raises Invalid naming `schema`."""
        self._bytes = len(msgspec.json.encode(schema))
        self._load = _Unfolding(schema).load() if isinstance(schema, dict) else _Load()
        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                retriever=_never,
                pattern_options=jsonschema_rs.RegexOptions(
                    size_limit=PATTERN_BYTES_MAX, dfa_size_limit=PATTERN_BYTES_MAX
                ),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            path = _path(getattr(error, "instance_path", ()))
            message = getattr(error, "message", None) or str(error)
            raise Invalid.field(f"schema{path}", message[:MESSAGE_CHARS_MAX]) from None

    def problems(self, data: bytes) -> list[FieldError]:
        """What is wrong with `data`; paths as `.lines[0].sku`, at most PROBLEMS_MAX."""
        values = 1 + data.count(b",") + data.count(b"[") + data.count(b"{")  # at the most
        if values * max(self._load.levels) > WORK_MAX or max(self._load.patterns) * len(data) > PATTERN_WORK_MAX:
            return [FieldError("", "is too large to be checked against so large a schema")]
        value = msgspec.json.decode(data)
        if self._validator.is_valid(value):
            return []
        return [
            FieldError(_path(error.instance_path), error.message[:MESSAGE_CHARS_MAX])
            for error in self._errors(value, listed=values * (self._bytes + len(data)) <= LISTED_BYTES_MAX)
        ]

    def _errors(self, value: object, *, listed: bool) -> list[jsonschema_rs.ValidationError]:
        if listed:
            return list(islice(self._validator.iter_errors(value), PROBLEMS_MAX))
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []


Levels = tuple[int, ...]


class _Load(msgspec.Struct, frozen=True):
    """What a schema asks for: keywords in all; how many can meet a value, and what patterns, at each level below."""

    total: int = 1
    levels: Levels = (1,)
    patterns: Levels = (0,)

    def beside(self, other: "_Load") -> "_Load":
        """Both meet the same values."""
        return self._with(other, sum)

    def instead(self, other: "_Load") -> "_Load":
        """One or the other meets a value: different properties."""
        return self._with(other, max)

    def below(self) -> "_Load":
        """It meets the values one level down."""
        return _Load(self.total, (0, *self.levels), (0, *self.patterns))

    def _with(self, other: "_Load", one: Callable[[Levels], int]) -> "_Load":
        levels = tuple(map(one, zip_longest(self.levels, other.levels, fillvalue=0)))
        patterns = tuple(map(one, zip_longest(self.patterns, other.patterns, fillvalue=0)))
        return _Load(self.total + other.total, levels, patterns)


class _Unfolding:
    """Adds up the load of a schema with every reference followed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, _Load] = {}
        self._open: set[int] = set()

    def load(self) -> _Load:
        """All of it. Raises Invalid for circles, foreign references, and beyond UNFOLDED_MAX."""
        return self._of(self._root, "schema")

    def _of(self, node: Any, path: str) -> _Load:  # noqa: ANN401 - a JSON tree
        if isinstance(node, list):
            return reduce(_Load.beside, (self._of(each, f"{path}[{i}]") for i, each in enumerate(node)), _Load())
        if not isinstance(node, dict):
            return _Load()
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            _refuse(path, "refers to itself; circular schemas are not supported")
        if len(self._open) >= DEPTH_MAX:
            _refuse(path, f"is nested too deeply (at most {DEPTH_MAX} levels, references followed)")
        self._open.add(id(node))
        load = reduce(_Load.beside, self._keywords(node, path), _Load())
        if not _LOOKING_BESIDE.isdisjoint(node):  # what stands beside is asked once more
            load = load.beside(load)
        self._open.discard(id(node))
        if load.total > UNFOLDED_MAX:
            _refuse(path, f"unfolds to more than {UNFOLDED_MAX} subschemas")
        self._known[id(node)] = load
        return load

    def _keywords(self, node: dict[str, Any], path: str) -> Iterator[_Load]:
        for key, value in node.items():
            here = f"{path}.{key}"
            if key in _REFUSED or (key == "$id" and node is not self._root):
                _refuse(here, "is not supported; refer by place, as #/$defs/address")
            if key == "multipleOf" and isinstance(value, int | float) and 0 < value < DIVISOR_MIN:
                _refuse(here, f"must be at least {DIVISOR_MIN}")
            if key == "$ref":
                yield self._of(self._target(value, here), here)
            elif key in _DATA:
                yield _data(key, value)
            elif key == "pattern" and isinstance(value, str):
                yield _Load(patterns=(_weight(value),))
            elif key in _MAPS:
                if isinstance(value, dict) and key not in _UNUSED_UNTIL_REFERRED:
                    yield self._map(key, value, here)
            else:
                load = self._of(value, here)
                yield load.below() if key in _BELOW else load

    def _map(self, key: str, members: dict[str, Any], path: str) -> _Load:
        loads = [self._of(each, f"{path}.{name}") for name, each in members.items()]
        if key == "properties":
            return reduce(_Load.instead, loads, _Load()).below()
        load = reduce(_Load.beside, loads, _Load())
        if key == "patternProperties":
            return load.below().beside(_Load(patterns=(sum(map(_weight, members)),)))
        return load

    def _target(self, reference: object, path: str) -> Any:  # noqa: ANN401 - a JSON tree
        if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
            _refuse(path, "only references into the schema itself are followed, as #/$defs/address")
        node: Any = self._root
        for part in reference.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
            elif isinstance(node, dict) and name in node:
                node = node[name]
            else:
                _refuse(path, f"there is nothing at {reference[:100]}")
        return node


def _data(key: str, value: object) -> _Load:
    """An enum with objects or arrays in it is compared one by one; all else is looked up."""
    if key != "enum" or not isinstance(value, list) or not any(isinstance(one, dict | list) for one in value):
        return _Load()
    text = msgspec.json.encode(value)
    return _Load(levels=(len(value) + text.count(b",") + text.count(b":"),))


def _weight(pattern: str) -> int:
    """About how many states of the pattern one byte of a text may meet: repeats multiply what they may repeat."""
    open_groups, weight = [1], len(pattern)
    for found in _REPEAT_OR_GROUP.finditer(pattern):
        if found[0] == "(":
            open_groups.append(1)
        elif found[0] == ")":
            inner = open_groups.pop() if len(open_groups) > 1 else 1
            open_groups[-1] = max(open_groups[-1], inner)
        elif found[1]:
            times = int(found[1][:9])
            open_groups[-1] *= max(1, times)
            weight += open_groups[-1]
    return weight


def _never(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched: schemas stand alone")


def _path(steps: Any) -> str:  # noqa: ANN401 - the library's list of names and numbers
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[:MESSAGE_CHARS_MAX]


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid.field(path[:MESSAGE_CHARS_MAX], message)
