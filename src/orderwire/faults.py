"""What pydantic finds wrong, in our words: one way to say it for settings, API bodies and configs of every kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from orderwire.errors import FieldError, Invalid

PATH_CHARS_MAX, MESSAGE_CHARS_MAX = 200, 300
_SENTENCES = {
    "extra_forbidden": "there is no such field",
    "missing": "is required",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}
_SUBJECT = re.compile(r"^(?:Value error, |\w+ should (?=\w))")


@dataclass(frozen=True, slots=True)
class Like:
    """A text's pattern, and what to write instead of a text that does not match: a pattern alone helps nobody."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Check after the text's own rules."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Documents show the pattern."""
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be {self.words}")
        return value


def refusal(faults: Sequence[ErrorDetails], *, skip: int = 0, within: str = "") -> Invalid:
    """All faults at once. `skip` leading parts of each place are not the writer's; `within` is a field around them."""
    errors = tuple(FieldError(_path(fault["loc"][skip:], within), sentence(fault)) for fault in faults)
    first = errors[0]
    return Invalid(f"{first.path}: {first.message}" if first.path else first.message, errors)


def sentence(fault: ErrorDetails) -> str:
    """What is wrong, to be read after the field's name: `must be ...`."""
    known = _SENTENCES.get(fault["type"])
    if known is not None:
        return known
    said = _SUBJECT.sub(lambda found: "must " if "should" in found[0] else "", fault["msg"])
    return said.replace(" after validation", "")[:MESSAGE_CHARS_MAX]


def _path(place: Sequence[int | str], path: str) -> str:
    """`retry.schedule_s[0]`."""
    for step in place:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path[:PATH_CHARS_MAX]
