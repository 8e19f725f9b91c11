"""Filters: what holds, what does not, what is refused."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.errors import Invalid
from orderwire.routing.filters import compile_filter

EVENT = {
    "id": "evt_1",
    "type": "order.created",
    "subject": "order/1",
    "source": None,
    "data": {
        "total": 1000,
        "paid": True,
        "note": None,
        "currency": "EUR",
        "at": "2026-11-23T20:01:18Z",
        "customer": {"email": "ann@example.com", "tags": ["vip", "b2b"]},
        "lines": [{"sku": "A", "qty": 1}, {"sku": "B", "qty": 5}],
        "empty": [],
    },
}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ({}, True),
        ({"type": "order.created"}, True),
        ({"type": {"$prefix": "order."}}, True),
        ({"type": {"$suffix": ".paid"}}, False),
        ({"data.total": 1000.0}, True),
        ({"data.total": {"$gt": 999, "$lt": 1001}}, True),
        ({"data.total": {"$gte": 1000, "$lte": 999}}, False),
        ({"data.total": {"$gt": "999"}}, False),
        ({"data.paid": 1}, False),
        ({"data.paid": True}, True),
        ({"data.paid": {"$in": [1]}}, False),
        ({"data.note": None}, True),
        ({"data.missing": None}, False),
        ({"data.missing": {"$ne": 5}}, True),
        ({"data.missing": {"$nin": [5]}}, True),
        ({"data.missing": {"$exists": False}}, True),
        ({"data.note": {"$exists": True}}, True),
        ({"source": None}, True),
        ({"data.currency": {"$in": ["EUR", "USD"]}}, True),
        ({"data.currency": {"$nin": ["EUR"]}}, False),
        ({"data.at": {"$lt": "2027"}}, True),
        ({"data.customer.tags": "vip"}, True),
        ({"data.customer.tags": ["vip", "b2b"]}, True),
        ({"data.customer.tags": {"$ne": "vip"}}, False),
        ({"data.lines.sku": "B"}, True),
        ({"data.lines.qty": {"$gt": 4}}, True),
        ({"data.lines.sku": "A", "data.lines.qty": 5}, True),
        ({"data": {"lines": {"sku": "A", "qty": 5}}}, False),
        ({"data": {"lines": {"sku": "B", "qty": {"$gte": 5}}}}, True),
        ({"data": {"customer": {"email": {"$suffix": "@example.com"}}}}, True),
        ({"data.customer": {"$eq": {"email": "ann@example.com", "tags": ["vip", "b2b"]}}}, True),
        ({"data.empty": {"$exists": True}}, True),
        ({"data.empty.x": 1}, False),
        ({"$or": [{"type": "x"}, {"data.total": 1000}]}, True),
        ({"$and": [{"type": "x"}, {"data.total": 1000}]}, False),
        ({"$not": {"type": "x"}}, True),
        ({"data": {"$or": [{"total": 1}, {"currency": "EUR"}]}}, True),
        ({"data": {"$not": {"total": 1000}}}, False),
    ],
)
def test_what_holds(source: dict[str, Any], holds: bool) -> None:
    assert compile_filter(source)(EVENT) is holds


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ({"body.x": 1}, "filter.body.x"),
        ({"data..x": 1}, "filter.data..x"),
        ({"data.x": {"$regex": "a"}}, "filter.data.x.$regex"),
        ({"data.x": {"$gt": 1, "y": 2}}, "filter.data.x"),
        ({"data.x": {"$gt": None}}, "filter.data.x.$gt"),
        ({"data.x": {"$in": []}}, "filter.data.x.$in"),
        ({"data.x": {"$in": [{}]}}, "filter.data.x.$in"),
        ({"data.x": {"$in": list(range(251))}}, "filter.data.x.$in"),
        ({"data.x": {"$exists": 1}}, "filter.data.x.$exists"),
        ({"data.x": {"$prefix": 1}}, "filter.data.x.$prefix"),
        ({"$gt": 1}, "filter.$gt"),
        ({"$or": {}}, "filter.$or"),
        ({"$or": [1]}, "filter.$or[0]"),
        ({"$not": [{}]}, "filter.$not"),
        ({".".join(["data"] + ["x"] * 16): 1}, "filter." + ".".join(["data"] + ["x"] * 16)),
    ],
)
def test_a_refusal_names_the_path(source: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        compile_filter(source)
    assert refused.value.errors[0].path == path


def test_bounds() -> None:
    compile_filter({"$or": [{"data.x": n} for n in range(100)]})
    with pytest.raises(Invalid, match="too many"):
        compile_filter({"$or": [{"data.x": n} for n in range(101)]})
    deep: dict[str, Any] = {"type": "x"}
    for _ in range(20):
        deep = {"$not": deep}
    with pytest.raises(Invalid, match="too deeply"):
        compile_filter(deep)


HUGE = {"flat": [1] * 128_000, "objects": [{"v": n % 10} for n in range(26_000)]}


@pytest.mark.parametrize(
    "source",
    [
        {"$and": [{"data.flat": {"$ne": f"x{n}"}} for n in range(100)]},
        {"$and": [{"data.objects.v": {"$ne": f"x{n}"}} for n in range(100)]},
        {"data.objects": {"$or": [{"v": f"x{n}"} for n in range(100)]}},
    ],
)
def test_large_arrays_take_a_bounded_time(source: dict[str, Any]) -> None:
    holds = compile_filter(source)
    began = time.monotonic()
    for _ in range(3):
        holds({"data": HUGE})
    assert time.monotonic() - began < 1.5  # 0.1 s here; it took four seconds each


def test_one_condition_sees_all_of_any_array_and_each_event_anew() -> None:
    holds = compile_filter({"data.flat": "last"})
    for _ in range(3):
        assert holds({"data": {"flat": [1] * 90_000 + ["last"]}})
    assert compile_filter({"data.lines": {"sku": "A", "n": {"$gt": 2}}})(
        {"data": {"lines": [{"sku": "B"}] * 900 + [{"sku": "A", "n": 3}]}}
    )


def test_empty_branches_count_too() -> None:
    with pytest.raises(Invalid, match="branches"):
        compile_filter({"$and": [{}] * 600})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc$.", max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(source=st.dictionaries(st.sampled_from(["data", "data.a", "type", "$or", "$not"]), JSON), data=JSON)
def test_any_filter_is_refused_or_answers(source: dict[str, Any], data: object) -> None:
    try:
        holds = compile_filter(source)
    except Invalid:
        return
    assert holds({"type": "a", "data": data}) in (True, False)
