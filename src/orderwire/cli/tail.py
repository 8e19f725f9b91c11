"""`orderwire tail`: events, deliveries and attempts as they happen."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from orderwire.cli.client import Node, query_text
from orderwire.cli.failures import Refused, Unreachable
from orderwire.cli.options import HERE, Reach
from orderwire.cli.output import console, emit, status_style

AGAIN_S_MAX = 10.0
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
    reached, again_s = False, 1.0
    while True:
        try:
            for message in node.stream("/v1/live" + query_text({"type": type})):
                reached, again_s = True, 1.0
                yield Happening(message.event, message.data)
            reached = True
        except Refused as refused:
            if refused.status not in BUSY or not reached:
                raise
        except Unreachable:
            if not reached:
                raise
            note(f"the node is away; asking again in {again_s:.0f} s")
        time.sleep(again_s)
        again_s = min(AGAIN_S_MAX, again_s * 2)


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
