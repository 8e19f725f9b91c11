"""`orderwire tail`: events, deliveries and attempts as they happen; by asking again where there is no stream."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from orderwire.cli.client import Node, query_text
from orderwire.cli.failures import Refused, Unreachable
from orderwire.cli.options import HERE, Paging, Reach
from orderwire.cli.output import console, emit, fetch, status_style
from orderwire.clock import SECOND, SystemClock, to_rfc3339

POLL_S = 1.0
POLL_OVERLAP_S = 5  # asks so far back again: rows of one commit share an instant
POLL_LIMIT = 250
AGAIN_S_MAX = 10.0
NO_STREAM = (404, 405, 501)
BUSY = (429, 502, 503, 504)


class Happening(NamedTuple):
    """One thing that happened: its noun, and it as JSON."""

    noun: str
    body: bytes


def tail(*, type: str | None = None, at: Reach = HERE) -> None:
    """Watch events, deliveries and attempts as they happen, until Ctrl-C; one JSON line each with --json.

    Parameters
    ----------
    type
        Only events of this type, or 'order.*' for all below it.
    """
    node = at.node()
    note(f"watching {node.url}; Ctrl-C ends it")
    out = console()
    for thing in happenings(node, type):
        if at.json:
            emit(msgspec.json.encode({"event": thing.noun, "data": msgspec.Raw(thing.body)}))
        else:
            out.print(_line(thing))
        out.file.flush()


def happenings(node: Node, type: str | None) -> Iterator[Happening]:
    """For ever, over lost connections. Raises Refused, and Unreachable where nobody answered even once."""
    last_id, reached, again_s = None, False, 1.0
    while True:
        try:
            for message in node.stream("/v1/live" + query_text({"type": type}), last_id):
                reached, again_s, last_id = True, 1.0, message.id or last_id
                yield Happening(message.event, message.data)
            reached = True
        except Refused as refused:
            if refused.status in NO_STREAM:
                note("no live stream there: asking for new events each second instead")
                yield from polled(node, type)
            if refused.status not in BUSY or not reached:
                raise
        except Unreachable:
            if not reached:
                raise
            note(f"the node is away; asking again in {again_s:.0f} s")
        time.sleep(again_s)
        again_s = min(AGAIN_S_MAX, again_s * 2)


def polled(node: Node, type: str | None) -> Iterator[Happening]:
    """New events by asking for the list, oldest first, for ever."""
    clock = SystemClock()
    since, seen = clock.now(), set[str]()
    while True:
        query: dict[str, object] = {"type": type, "since": to_rfc3339(since)}
        try:
            rows, _ = fetch(node, "/v1/events", Paging(limit=POLL_LIMIT), query)
        except Unreachable:
            note("the node is away; asking again")
            rows = []
        fresh = [(msgspec.json.decode(row)["id"], bytes(row)) for row in reversed(rows)]
        for id, row in fresh:
            if id not in seen:
                yield Happening("event", row)
        if fresh:
            seen = {id for id, _ in fresh}
            since = clock.now() - POLL_OVERLAP_S * SECOND
        time.sleep(POLL_S)


def note(sentence: str) -> None:
    """A remark beside the stream, on standard error, for people only."""
    err = Console(stderr=True)
    if err.is_terminal:
        err.print(sentence, style="dim", highlight=False, markup=False)


def _line(thing: Happening) -> Text:
    """`20:01:18 event     order.created  evt_…  order/1001`."""
    fields: dict[str, Any] = msgspec.json.decode(thing.body)
    at = next((str(fields[n]) for n in ("started_at", "updated_at", "received_at", "at") if fields.get(n)), "")
    line = Text.assemble((at[11:19] or "--:--:--", "dim"), " ", (f"{thing.noun:<9}", "bold"))
    for name in (
        "type",
        "status",
        "outcome",
        "status_code",
        "id",
        "subject",
        "delivery",
        "event",
        "destination",
        "error",
    ):
        value = fields.get(name)
        if value is not None and value != "":
            line.append("  ").append(str(value), style=status_style(str(value)))
    return line
