"""Answers: JSON bodies, lists and their cursors."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from orderwire.errors import Malformed
from orderwire.ids import looks_generated
from orderwire.store.base import PAGE_MAX, Page

T = TypeVar("T")
LIMIT_DEFAULT = 50
CURSOR_CHARS_MAX = 400
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_CURSOR = re.compile(r"[A-Za-z0-9_-]+")


class PageQuery(BaseModel):
    """`limit` and `cursor`; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] | None = None

    def before(self) -> str | None:
        """What the cursor says: a former page's `next_id`. Raises Malformed."""
        if self.cursor is None:
            return None
        if not _CURSOR.fullmatch(self.cursor):
            raise Malformed("the cursor is not one of ours")
        try:
            return urlsafe_b64decode(self.cursor + "=" * (-len(self.cursor) % 4)).decode()
        except ValueError:
            raise Malformed("the cursor is not one of ours") from None

    def before_id(self, prefix: str) -> str | None:
        """The same, where it must be an id of `prefix`. Raises Malformed."""
        text = self.before()
        if text is not None and not (looks_generated(text) and text.startswith(f"{prefix}_")):
            raise Malformed("the cursor is not one of this list's")
        return text


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; `msgspec.Raw` parts go out byte for byte."""
    return Response(msgspec.json.encode(value), status, {**_HEADERS, **(headers or {})}, "application/json")


def nothing() -> Response:
    """204."""
    return Response(status_code=204, headers=_HEADERS)


def listing(page: Page[T], show: Callable[[T], object], **more: object) -> Response:
    """A page as `{"data": [...], "next_cursor": ...}`."""
    return answer({"data": [show(row) for row in page.rows], "next_cursor": _cursor(page.next_id), **more})


def whole(rows: Iterable[T], query: PageQuery, key: Callable[[T], str]) -> Page[T]:
    """A page of a short list that is all in memory, in its own order."""
    every, before = list(rows), query.before()
    start = next((i + 1 for i, row in enumerate(every) if key(row) == before), 0)
    if before is not None and start == 0:
        raise Malformed("the cursor is not one of this list's")
    shown = tuple(every[start : start + query.limit])
    more = start + query.limit < len(every)
    return Page[Any](rows=shown, next_id=key(shown[-1]) if more else None)


def _cursor(next_id: str | None) -> str | None:
    return None if next_id is None else urlsafe_b64encode(next_id.encode()).decode("ascii").rstrip("=")
