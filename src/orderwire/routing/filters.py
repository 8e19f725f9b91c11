"""Filters: JSON objects that say which events a destination wants, compiled to closures (about 1 us an event).

    {"data.total": {"$gte": 10000}, "data.currency": "EUR"}                  all members must hold
    {"data": {"customer": {"email": {"$suffix": "@example.com"}}}}           the same as a dotted path
    {"$or": [{"type": "order.paid"}, {"data.tags": {"$in": ["vip"]}}]}       $and, $or, $not at any level

A member is a path and what must hold there: a value (equality), an object of operators (all must hold), or an
object of further paths. Paths begin with `id`, `type`, `subject`, `source` or `data`. Where a path meets an array, any
element may match; an object of further paths must hold for one element as a whole. docs/filters.md has it all.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from orderwire.errors import Invalid

DEPTH_MAX = 16  # levels of nesting, and segments of a path
CONDITIONS_MAX = 100
BRANCHES_MAX = 500  # objects of members, empty ones too
VALUES_MAX = 250  # in one $in or $nin
LOOKS_MAX = 100_000  # at elements of arrays, for one event, by all conditions together: some 30 ms
ROOTS = frozenset({"id", "type", "subject", "source", "data"})

Filter = Callable[[Mapping[str, object]], bool]
_Test = Callable[[list[object]], bool]  # over everything found at a path; empty: nothing there


def compile_filter(source: Mapping[str, Any], path: str = "filter") -> Filter:
    """A function of the event's document ({"type", "subject", "data", ...}). Raises Invalid naming the path.

    It looks LOOKS_MAX times at elements of arrays, each condition on its own; what stands behind those does not count.
    """
    budget = _Budget()
    holds = _Compiler(budget).members(source, path, 1, is_root=True)

    def filtered(document: Mapping[str, object]) -> bool:
        budget.left = LOOKS_MAX
        return holds(document)

    return filtered


class _Budget:
    """How often elements of arrays may still be looked at."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = LOOKS_MAX

    def of(self, elements: list[Any]) -> list[Any]:
        """As many of them as may be."""
        left = self.left
        self.left = left - len(elements)
        return elements if self.left >= 0 else elements[: max(0, left)]


class _Compiler:
    """One filter being compiled; counts its conditions."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._conditions = 0
        self._branches = 0

    def members(
        self, source: Mapping[str, Any], path: str, depth: int, *, is_root: bool = False
    ) -> Callable[[object], bool]:
        """All members of an object of paths and connectives, as a test of one value."""
        if depth > DEPTH_MAX:
            _refuse(path, f"nested too deeply (at most {DEPTH_MAX} levels)")
        self._branches += 1
        if self._branches > BRANCHES_MAX:
            _refuse(path, f"too many branches (at most {BRANCHES_MAX})")
        tests = [self._member(key, value, path, depth, is_root=is_root) for key, value in source.items()]
        if len(tests) == 1:
            return tests[0]
        return lambda value: all(test(value) for test in tests)

    def _member(self, key: str, value: object, path: str, depth: int, *, is_root: bool) -> Callable[[object], bool]:
        here = f"{path}.{key}"
        if key == "$not":
            inner = self.members(_object(value, here), here, depth + 1, is_root=is_root)
            return lambda found: not inner(found)
        if key in ("$and", "$or"):
            branches = [
                self.members(_object(branch, f"{here}[{i}]"), f"{here}[{i}]", depth + 1, is_root=is_root)
                for i, branch in enumerate(_array(value, here))
            ]
            quantifier = all if key == "$and" else any
            return lambda found: quantifier(branch(found) for branch in branches)
        if key.startswith("$"):
            _refuse(here, "an operator needs a path before it; only $and, $or and $not stand alone")
        segments = _segments(key, here, is_root=is_root)
        test = self._condition(value, here, depth + len(segments))
        budget = self._budget
        return lambda found: test(_reach(found, segments, budget))

    def _condition(self, value: object, path: str, depth: int) -> _Test:
        """What must hold of the values found at a path."""
        if not isinstance(value, Mapping):
            self._count(path)
            return self._of_candidates(_equal(value, path))
        operators = [key for key in value if key in _OPERATORS]
        if operators and len(operators) == len(value):
            for _ in operators:
                self._count(path)
            tests = [self._operator(key, value[key], f"{path}.{key}") for key in operators]
            return tests[0] if len(tests) == 1 else lambda found: all(test(found) for test in tests)
        if operators:
            _refuse(path, f"mixes operators ({', '.join(operators)}) with paths")
        unknown = [key for key in value if key.startswith("$") and key not in ("$and", "$or", "$not")]
        if unknown:
            _refuse(f"{path}.{unknown[0]}", f"no such operator; there are {', '.join(_OPERATORS)}")
        before, budget = self._conditions + self._branches, self._budget
        inner = self.members(value, path, depth + 1)
        looks = self._conditions + self._branches - before
        return lambda found: any(inner(one) for one in _elements(found, budget, looks))

    def _operator(self, name: str, wanted: object, path: str) -> _Test:
        test = _OPERATORS[name](wanted, path)
        return test if name == "$exists" else self._of_candidates(test)

    def _of_candidates(self, test: _Test) -> _Test:
        """A comparison looks at each value found, and of an array also at each element."""
        budget = self._budget

        def tested(found: list[object]) -> bool:
            for value in found:
                if value.__class__ is list:
                    found = [*found, *(one for each in found if isinstance(each, list) for one in budget.of(each))]
                    break
            return test(found)

        return tested

    def _count(self, path: str) -> None:
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            _refuse(path, f"too many conditions (at most {CONDITIONS_MAX})")


# -- reaching values ----------------------------------------------------------------------------


def _segments(key: str, path: str, *, is_root: bool) -> tuple[str, ...]:
    segments = tuple(key.split("."))
    if not all(segments):
        _refuse(path, "a path is names with dots between them, as data.customer.email")
    if len(segments) > DEPTH_MAX:
        _refuse(path, f"a path has at most {DEPTH_MAX} segments")
    if is_root and segments[0] not in ROOTS:
        _refuse(path, f"a path begins with {', '.join(sorted(ROOTS))}")
    return segments


def _reach(value: object, segments: tuple[str, ...], budget: _Budget) -> list[object]:
    """Everything at a path below `value`, going through arrays on the way."""
    found = [value]
    for segment in segments:
        found = [
            one[segment]
            for each in found
            for one in _itself_or_elements(each, budget)
            if isinstance(one, dict) and segment in one
        ]
    return found


def _itself_or_elements(value: object, budget: _Budget) -> tuple[object, ...] | list[object]:
    return budget.of(value) if isinstance(value, list) else (value,)


def _elements(found: list[object], budget: _Budget, looks: int) -> Iterator[object]:
    for value in found:
        for one in value if isinstance(value, list) else (value,):
            budget.left -= looks
            if budget.left < 0:
                return
            yield one


# -- operators ----------------------------------------------------------------------------------


def _equal(wanted: object, _: str) -> _Test:
    return lambda found: any(_same(one, wanted) for one in found)


def _in(wanted: object, path: str) -> _Test:
    values = _array(wanted, path)
    if len(values) > VALUES_MAX:
        _refuse(path, f"at most {VALUES_MAX} values")
    if any(isinstance(value, dict | list) for value in values):
        _refuse(path, "takes strings, numbers, true, false and null")
    known = frozenset(_typed(value) for value in values)
    return lambda found: any(_typed(one) in known for one in found if not isinstance(one, dict | list))


def _exists(wanted: object, path: str) -> _Test:
    if not isinstance(wanted, bool):
        _refuse(path, "takes true or false")
    return lambda found: bool(found) is wanted


def _compare(accept: Callable[[Any, Any], bool]) -> Callable[[object, str], _Test]:
    """An ordering: numbers with numbers, strings with strings (so RFC 3339 times in UTC work)."""

    def make(wanted: object, path: str) -> _Test:
        if _is_number(wanted):
            return lambda found: any(_is_number(one) and accept(one, wanted) for one in found)
        if isinstance(wanted, str):
            return lambda found: any(isinstance(one, str) and accept(one, wanted) for one in found)
        _refuse(path, "takes a number or a string")

    return make


def _affix(accept: Callable[[str, str], bool]) -> Callable[[object, str], _Test]:
    def make(wanted: object, path: str) -> _Test:
        if not isinstance(wanted, str):
            _refuse(path, "takes a string")
        return lambda found: any(isinstance(one, str) and accept(one, wanted) for one in found)

    return make


def _negated(make: Callable[[object, str], _Test]) -> Callable[[object, str], _Test]:
    """`$ne` and `$nin` hold exactly where `$eq` and `$in` do not: also where nothing is there."""

    def made(wanted: object, path: str) -> _Test:
        test = make(wanted, path)
        return lambda found: not test(found)

    return made


_OPERATORS: dict[str, Callable[[object, str], _Test]] = {
    "$eq": _equal,
    "$ne": _negated(_equal),
    "$in": _in,
    "$nin": _negated(_in),
    "$gt": _compare(lambda one, wanted: one > wanted),
    "$gte": _compare(lambda one, wanted: one >= wanted),
    "$lt": _compare(lambda one, wanted: one < wanted),
    "$lte": _compare(lambda one, wanted: one <= wanted),
    "$exists": _exists,
    "$prefix": _affix(str.startswith),
    "$suffix": _affix(str.endswith),
}


def _same(one: object, other: object) -> bool:
    """Equality as JSON has it: `true` is not 1, 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return one == other


def _typed(value: object) -> tuple[bool, object]:
    """A scalar as a set knows it, `true` kept apart from 1."""
    return isinstance(value, bool), value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(path, "must be an object of paths")
    return value


def _array(value: object, path: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        _refuse(path, "must be an array with at least one member")
    return value


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid.field(path, message)
