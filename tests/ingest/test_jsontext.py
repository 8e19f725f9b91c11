"""Strict JSON: what is refused, with its path, and that the fast test never says yes where the exact one says no."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.errors import Malformed
from orderwire.ingest.jsontext import DEPTH_MAX, check, exact

REFUSED = {
    "empty": (b"", "", "not JSON"),
    "blank": (b"  ", "", "not JSON"),
    "cut off": (b'{"a":', "", "not JSON"),
    "trailing text": (b'{"a":1} x', "", "Extra data"),
    "two values": (b"{}{}", "", "Extra data"),
    "trailing comma": (b'{"a":1,}', "", "not JSON"),
    "single quotes": (b"{'a':1}", "", "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf{}", "", "not JSON"),
    "bad UTF-8": (b'{"a":"\xff"}', "", "not UTF-8 at byte 6"),
    "bad UTF-8 in a key": (b'{"\xc3\x28":1}', "", "not UTF-8"),
    "encoded surrogate": (b'"\xed\xa0\x80"', "", "not UTF-8"),
    "control character": (b'{"a":"\x01"}', "", "control character"),
    "NaN": (b'{"a":{"b":NaN}}', "a.b", "NaN"),
    "Infinity": (b'{"a":[1,-Infinity]}', "a[1]", "-Infinity"),
    "repeated key": (b'{"data":{"customer":{"id":1,"id":2}}}', "data.customer.id", "repeated key"),
    "repeated key, other spelling": (b'{"a":1,"\\u0061":2}', "a", "repeated key"),
    "repeated key, blank before colon": (b'{"a" :1,"b":"x","a":2}', "a", "repeated key"),
    "repeated key, hidden by an escaped colon": (b'{"a":"x:","a":"\\u003a\\u003A"}', "a", "repeated key"),
    "repeated key in a list": (b'[{"x":1},{"y":1,"y":1}]', "[1].y", "repeated key"),
    "lone surrogate": (b'{"a":["\\ud800"]}', "a[0]", "surrogate"),
    "lone low surrogate": (b'{"a":"\\udc00x"}', "a", "surrogate"),
    "lone surrogate as a key": (b'{"a":{"\\ud800":1}}', 'a["\\ud800"]', "surrogate"),
    "number beyond doubles": (b'{"a":1e999}', "a", "out of range"),
    "endless integer": (b'{"a":' + b"9" * 5000 + b"}", "a", "too many digits"),
    "too deep a list": (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "[0]", "nested too deeply"),
    "too deep for any parser": (b"[" * 100_000 + b"]" * 100_000, "", "nested too deeply"),
    "too deep an object": (b'{"a":' * 65 + b"1" + b"}" * 65, "a.a", "nested too deeply"),
}


@pytest.mark.parametrize(("raw", "path", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_readers_disagree_on_is_refused_with_its_path(raw: bytes, path: str, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        check(raw)
    assert words in refused.value.detail
    if path:
        assert refused.value.errors[0].path.startswith(path)
    else:
        assert not refused.value.errors or "nested" in words


ACCEPTED = {
    "scalar": b"1",
    "null": b" null ",
    "forty digits": b'{"id":' + b"1234567890" * 4 + b"}",
    "trailing zero": b'{"price":10.10}',
    "colon in a string": b'{"time":"20:01:18","u":"a\\":b"}',
    "escapes": b'{"a":"\\/\\n\\u00e9\\ud83d\\ude00"}',
    "blanks everywhere": b'\t{ "a" : [ 1 , 2 ]\r\n}\n',
    "empty key": b'{"":1}',
    "same key on other levels": b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}',
    "deepest": b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
    "wide": b"[" + b",".join([b'{"a":{"b":[]}}'] * 500) + b"]",
    "brackets in strings": b'"' + b"[{" * 200 + b'"',
}


@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_good_text_is_parsed(raw: bytes) -> None:
    assert check(raw) == json.loads(raw)


def test_depth_counts_the_value_given() -> None:
    assert check(b"[[]]", depth_max=2) == [[]]
    with pytest.raises(Malformed):
        check(b"[[[]]]", depth_max=2)


def test_a_long_path_is_cut() -> None:
    with pytest.raises(Malformed) as refused:
        check(b'{"a":{"' + b"k" * 5000 + b'":{"x":1,"x":2}}}')
    assert len(refused.value.errors[0].path) <= 200


def test_long_arrays_deep_down_cost_no_more_than_their_bytes() -> None:
    depth, length = 55, 50_000
    raw = b'{"' + ("é" * 64).encode() + b'":'
    raw = raw * depth + b"[" + b"1," * length + b'"\\u003a"]' + b"}" * depth  # the escape asks for the exact parser
    tracemalloc.start()
    try:
        check(raw)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(raw)  # a gigabyte, where each place was a text
    finally:
        tracemalloc.stop()


def outcome(parse: object, raw: bytes) -> object:
    try:
        return repr(parse(raw))  # type: ignore[operator]
    except Malformed as error:
        return error.detail


NAMES = st.sampled_from(["a", "b", "a:b", "\\u0061", "\\u003a", "\\u003A", '\\":', "", "\\ud800", "é"])
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t"])
SCALARS = st.sampled_from(
    ["1", "-0", "1.50", "1e5", "1e999", "NaN", "-Infinity", "01", "null", "true", "9" * 45, '"x:y"']
)
STRINGS = NAMES.map(lambda name: f'"{name}"')


def texts_of(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(STRINGS, BLANKS, BLANKS, children).map(lambda m: f"{m[0]}{m[1]}:{m[2]}{m[3]}")
    objects = st.lists(member, max_size=4).map(lambda members: "{" + ",".join(members) + "}")
    lists = st.tuples(BLANKS, st.lists(children, max_size=3)).map(lambda v: f"[{v[0]}" + ",".join(v[1]) + "]")
    return objects | lists


TEXTS = st.recursive(SCALARS | STRINGS, texts_of, max_leaves=12)


@given(TEXTS)
def test_fast_and_exact_agree_on_json_like_text(text: str) -> None:
    raw = text.encode()
    assert outcome(check, raw) == outcome(exact, raw)


@given(TEXTS, st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_fast_and_exact_agree_on_damaged_text(text: str, position: int, damage: bytes) -> None:
    raw = text.encode()
    raw = raw[:position] + damage + raw[position + 1 :]
    assert outcome(check, raw) == outcome(exact, raw)


@given(st.binary(max_size=40))
def test_fast_and_exact_agree_on_any_bytes(raw: bytes) -> None:
    assert outcome(check, raw) == outcome(exact, raw)


@given(TEXTS, st.integers(55, 75), st.booleans())
def test_fast_and_exact_agree_near_the_depth_limit(text: str, levels: int, listed: bool) -> None:
    before, after = ("[", "]") if listed else ('{"a":', "}")
    raw = (before * levels + text + after * levels).encode()
    assert outcome(check, raw) == outcome(exact, raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_all_that_python_writes_is_taken(value: object, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert check(raw) == value
