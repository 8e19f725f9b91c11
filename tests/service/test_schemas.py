"""Tenants' schemas: checking one takes a bounded time, whatever it and the data are."""

import json
import time
from typing import Any

import pytest

from orderwire.errors import Invalid
from orderwire.service.schemas import Schema

WITHIN_S = 3.0  # a loaded machine; each took from seconds to forever
WORDS = [f"s{n}" for n in range(7_000)]
CONSTANTS: list[dict[str, Any]] = [{"const": n} for n in range(300)]
HOSTILE: list[tuple[str, dict[str, Any], Any]] = [
    ("an error with all words for each item", {"items": {"enum": WORDS}}, ["zz"] * 52_000),
    ("fewer of them", {"items": {"enum": WORDS}}, ["zz"] * 7_000),
    ("objects compared one by one", {"items": {"enum": [{"a": n} for n in range(5_000)]}}, [{"a": 4_999}] * 23_000),
    ("many subschemas for each item", {"items": {"anyOf": CONSTANTS}}, [299] * 60_000),
    ("a pattern of many states", {"not": {"pattern": "[ab]*a[ab]{300}c"}}, "abbababbaabb" * 20_000),
    ("many of those", {"allOf": [{"pattern": f"[ab]*a[ab]{{300}}c{n}"} for n in range(190)]}, "abbab" * 50_000),
]


@pytest.mark.parametrize(("schema", "data"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_work_is_bounded(schema: dict[str, Any], data: Any) -> None:
    compiled, raw = Schema(schema), json.dumps(data, separators=(",", ":")).encode()
    began = time.monotonic()
    compiled.problems(raw)
    assert time.monotonic() - began < WITHIN_S


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"multipleOf": 1e-300}},
        {"$ref": "#/$defs/0", "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(300)} | {"300": {}}},
    ],
)
def test_what_has_no_use_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Schema(schema)


def test_unevaluated_asks_what_stands_beside_again() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(12):
        schema = {"anyOf": [schema], "unevaluatedProperties": False}
    with pytest.raises(Invalid, match="unfolds"):
        Schema(schema)


def test_a_large_order_fits_a_large_schema() -> None:
    money = {"type": "string", "pattern": r"^-?[0-9]{1,12}\.[0-9]{2}$"}
    line = {"type": "object", "properties": {f"field{n}": {"anyOf": [money, {"type": "null"}]} for n in range(60)}}
    schema = Schema({"type": "object", "required": ["lines"], "properties": {"lines": {"items": line}}})
    order = {"lines": [{f"field{n}": "10.10" for n in range(60)} for _ in range(150)]}
    assert len(json.dumps(order)) > 150_000
    assert schema.problems(json.dumps(order).encode()) == []
    order["lines"][149]["field7"] = "ten"
    assert [problem.path for problem in schema.problems(json.dumps(order).encode())] == [".lines[149].field7"]


def test_small_data_hears_of_all_its_problems() -> None:
    schema = Schema({"required": ["a"], "properties": {"b": {"type": "string"}, "c": {"enum": [1, {"x": 2}]}}})
    assert {problem.path for problem in schema.problems(b'{"b":1,"c":2}')} == {"", ".b", ".c"}
