"""What commands print: a list as a table or JSON, one thing as its fields or JSON, a sentence when it is done.

The one mechanism behind every listing. JSON goes out as the node wrote it, to the digit.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orderwire.cli.client import Node, query_text
from orderwire.cli.options import Paging, Reach

PAGE_MAX = 250  # the API's own limit
NESTED_CHARS_MAX = 60  # longer JSON within a field is spread over lines
WIDE = 10_000  # columns where no terminal sets the width: nothing is cut or wrapped for a pipe

_STYLES = {
    "delivered": "green",
    "active": "green",
    "failed": "red",
    "disabled": "red",
    "retrying": "yellow",
    "paused": "yellow",
    "pending": "cyan",
    "cancelled": "dim",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, the field it shows (a dotted path), and how, where not simply as text."""

    title: str
    field: str
    show: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A resource that has a list: where it is, and what of each row to show."""

    noun: str
    path: str
    columns: tuple[Column, ...]


class PageBody(msgspec.Struct):
    """One page of any list."""

    data: list[msgspec.Raw]
    next_cursor: str | None = None


def console() -> Console:
    """Standard output: as wide as the terminal, or as wide as it takes."""
    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else WIDE, highlight=False, markup=False, emoji=False)


def show_list(listing: Listing, at: Reach, paging: Paging, **query: object) -> None:
    """Print a list, one JSON document with `--json`. Goes on over short pages until `paging` has enough."""
    rows, cursor = fetch(at.node(), listing.path, paging, query)
    if at.json:
        emit(msgspec.json.encode({"data": rows, "next_cursor": cursor}))
        return
    if not rows:
        console().print(f"no {listing.noun}")
    else:
        put(table(listing.columns, [msgspec.json.decode(row) for row in rows]))
    if cursor:
        Console(stderr=True, soft_wrap=True).print(f"there may be more: --cursor {cursor}, or --all", style="dim")


def fetch(node: Node, path: str, paging: Paging, query: dict[str, object]) -> tuple[list[msgspec.Raw], str | None]:
    """The rows that `paging` asks for, and the cursor behind them. A page may be short and yet not be the last."""
    rows: list[msgspec.Raw] = []
    cursor = paging.cursor
    while True:
        limit = PAGE_MAX if paging.all else min(PAGE_MAX, paging.limit - len(rows))
        body = node.get(path + query_text({**query, "limit": limit, "cursor": cursor}))
        page = msgspec.json.decode(body, type=PageBody)
        rows += page.data
        cursor = page.next_cursor
        if cursor is None or (not paging.all and len(rows) >= paging.limit):
            return rows, cursor


def table(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> Table:
    """Rows under their titles; ids are never cut in two."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.title, no_wrap=column.field in ("id", "event", "destination", "status"), overflow="fold")
    for row in rows:
        made.add_row(*(_cell(column, row) for column in columns))
    return made


def show_one(body: bytes, at: Reach, without: tuple[str, ...] = ()) -> None:
    """Print one thing: its fields below each other, what is nested in it as JSON. `without`: for programs only."""
    if at.json:
        emit(body)
        return
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name in [name for name in fields if name not in without]:
        raw = fields[name]
        grid.add_row(name, _field(bytes(raw)))
    put(grid)


def put(made: Table) -> None:
    """Print a table; in a pipe without the blanks that fill its last column."""
    out = console()
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def show_done(body: bytes, at: Reach, sentence: str) -> None:
    """Say that it is done; with `--json` the node's answer instead."""
    if at.json:
        emit(body or b"{}")
    else:
        console().print(sentence)


def emit(body: bytes) -> None:
    """JSON on one line of standard output, as it came."""
    sys.stdout.write(body.decode().strip() + "\n")


def when(value: object) -> str:
    """An instant to the second, UTC, as tables show it."""
    return str(value)[:19].replace("T", " ")


def rounded(value: object) -> str:
    """A duration to a tenth."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def counted(count: int, noun: str) -> str:
    """`1 delivery`, `2 deliveries`."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun}"


def joined(value: object) -> str:
    """A list on one line."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def status_style(word: str) -> str:
    """The colour of a state, none for any other word."""
    return _STYLES.get(word, "")


def _cell(column: Column, row: dict[str, Any]) -> Text:
    value: Any = row
    for part in column.field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or value == "":
        return Text("-", style="dim")
    text = column.show(value) if column.show else ("yes" if value is True else "no" if value is False else str(value))
    return Text(text, style=status_style(text))


def _field(raw: bytes) -> Text:
    if raw[:1] in b"{[" and len(raw) > NESTED_CHARS_MAX:
        return Text(msgspec.json.format(raw, indent=2).decode())
    value = msgspec.json.decode(raw) if raw[:1] == b'"' else raw.decode()
    return Text("-", style="dim") if value == "null" else Text(value, style=status_style(value))
