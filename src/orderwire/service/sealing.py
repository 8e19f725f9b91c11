"""Configured values as the store keeps them: JSON text with each secret sealed on its own, bound to its row.

The text is `{"value": {...}, "sealed": [paths]}`: which parts are sealed is written beside them, so a row opens also
where the kind that named its secrets is no longer installed.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from orderwire.crypto import SecretBox
from orderwire.model import Value

Path = tuple[str | int, ...]
V = TypeVar("V", bound=Value)

MASK = "***"


class _Row(msgspec.Struct):
    value: dict[str, Any]
    sealed: list[list[str | int]]


def seal(value: Value, secrets: Iterable[Path], box: SecretBox, row_id: str) -> bytes:
    """The row's text. `secrets`: where in the value's JSON the secret strings are."""
    tree = msgspec.json.decode(msgspec.json.encode(value))
    paths = [list(path) for path in secrets]
    for path in paths:
        _change(tree, path, lambda text: box.seal(text, row_id))
    return msgspec.json.encode(_Row(tree, paths))


def unseal(body: bytes, struct: type[V], box: SecretBox, row_id: str) -> V:
    """The value again. Raises ValueError where no key of ours opens a secret of it."""
    row = msgspec.json.decode(body, type=_Row)
    for path in row.sealed:
        _change(row.value, path, lambda text: box.open(text, row_id))
    return msgspec.convert(row.value, struct)


def masked(config: dict[str, Any], secrets: Iterable[Path]) -> dict[str, Any]:
    """A copy for people's eyes: each secret reads `***`."""
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    for path in secrets:
        _change(copy, path, lambda _: MASK)
    return copy


def at_path(tree: object, path: Iterable[str | int]) -> object:
    """What is at a path; None where nothing is."""
    for step in path:
        if isinstance(tree, dict) or (isinstance(tree, list) and isinstance(step, int) and step < len(tree)):
            tree = tree.get(step) if isinstance(tree, dict) else tree[int(step)]
        else:
            return None
    return tree


def put_at(tree: Any, path: Path, value: object) -> None:  # noqa: ANN401 - a JSON tree
    """Replace what is at a path that exists."""
    _change(tree, path, lambda _: value)


def _change(tree: Any, path: Iterable[str | int], change: Callable[[str], object]) -> None:  # noqa: ANN401
    *way, last = path
    for step in way:
        tree = tree[step]
    tree[last] = change(tree[last])
