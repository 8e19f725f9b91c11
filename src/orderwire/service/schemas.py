"""Tenants' JSON Schemas, made harmless: nothing is fetched, patterns run in linear time, work has a bound.

A schema may refer only into itself (`#/$defs/...`) and not in circles: then the number of subschemas it unfolds to is
known when it is written, and with the size of an event bounds the work of checking it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

import jsonschema_rs
import msgspec

from orderwire.errors import FieldError, Invalid

SCHEMA_BYTES_MAX = 64 * 1024
UNFOLDED_MAX = 5_000  # subschemas after every reference is followed
DEPTH_MAX = 200
WORK_MAX = 100_000_000  # unfolded subschemas times bytes of data: about a second at the worst
PATTERN_BYTES_MAX = 1024 * 1024  # of one compiled pattern
PROBLEMS_MAX = 10
MESSAGE_CHARS_MAX = 300

_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"})
_UNUSED_UNTIL_REFERRED = frozenset({"$defs", "definitions"})
_DATA = frozenset({"enum", "const", "default", "examples"})
_REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor"})


class Schema:
    """A compiled schema."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:  # noqa: FBT001 - a schema may be `true`
        """Raises Invalid naming `schema`."""
        self._unfolded = _Unfolding(schema).count() if isinstance(schema, dict) else 1
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
        if self._unfolded * len(data) > WORK_MAX:
            return [FieldError("", "is too large to be checked against so large a schema")]
        value = msgspec.json.decode(data)
        if self._validator.is_valid(value):
            return []
        errors = islice(self._validator.iter_errors(value), PROBLEMS_MAX)
        return [FieldError(_path(error.instance_path), error.message[:MESSAGE_CHARS_MAX]) for error in errors]


class _Unfolding:
    """Counts the subschemas of a schema with every reference followed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._counted: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self) -> int:
        """How many. Raises Invalid for circles, foreign references, and beyond UNFOLDED_MAX."""
        return self._count(self._root, "schema")

    def _count(self, node: Any, path: str) -> int:  # noqa: ANN401 - a JSON tree
        if isinstance(node, list):
            return sum(self._count(each, f"{path}[{i}]") for i, each in enumerate(node))
        if not isinstance(node, dict):
            return 1
        if id(node) in self._counted:
            return self._counted[id(node)]
        if id(node) in self._open:
            _refuse(path, "refers to itself; circular schemas are not supported")
        if len(self._open) >= DEPTH_MAX:
            _refuse(path, f"is nested too deeply (at most {DEPTH_MAX} levels, references followed)")
        self._open.add(id(node))
        total = 1 + sum(self._count(child, where) for child, where in self._children(node, path))
        self._open.discard(id(node))
        if total > UNFOLDED_MAX:
            _refuse(path, f"unfolds to more than {UNFOLDED_MAX} subschemas")
        self._counted[id(node)] = total
        return total

    def _children(self, node: dict[str, Any], path: str) -> Iterator[tuple[Any, str]]:
        for key, value in node.items():
            here = f"{path}.{key}"
            if key in _REFUSED or (key == "$id" and node is not self._root):
                _refuse(here, "is not supported; refer by place, as #/$defs/address")
            if key == "$ref":
                yield self._target(value, here), here
            elif key in _MAPS:
                if isinstance(value, dict) and key not in _UNUSED_UNTIL_REFERRED:
                    yield from ((each, f"{here}.{name}") for name, each in value.items())
            elif key not in _DATA:
                yield value, here

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


def _never(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched: schemas stand alone")


def _path(steps: Any) -> str:  # noqa: ANN401 - the library's list of names and numbers
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[:MESSAGE_CHARS_MAX]


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid.field(path[:MESSAGE_CHARS_MAX], message)
