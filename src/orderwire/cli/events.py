"""`orderwire events`: what was accepted."""

import sys

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.groups import group
from orderwire.cli.options import FIRST, HERE, Paging, Reach, instant
from orderwire.cli.output import Column, Listing, counted, show_done, show_list, show_one, when

EVENTS = Listing(
    "events",
    "/v1/events",
    (
        Column("received", "received_at", when),
        Column("id", "id"),
        Column("type", "type"),
        Column("subject", "subject"),
        Column("source", "source"),
    ),
)

events = group("events", "What was accepted: list, show, replay.")


@events.command(name="list")
def list_(  # noqa: PLR0913 - each is a flag
    *,
    type: str | None = None,
    subject: str | None = None,
    source: str | None = None,
    status: str | None = None,
    since: str | None = None,
    until: str | None = None,
    q: str | None = None,
    paging: Paging = FIRST,
    at: Reach = HERE,
) -> None:
    """List events, newest first.

    Parameters
    ----------
    type
        Only this type, or 'order.*' for all below it.
    subject
        Only this subject, as order/1001.
    source
        Only what came in by this source.
    status
        Only events with a delivery in this state.
    since
        Received at or after: 2026-11-23T20:01:18Z, 2026-11-23, or how long ago: 90m, 2d.
    until
        Received before, written the same way.
    q
        Text to look for: in ids and subjects, else in payloads.
    """
    query = {"type": type, "subject": subject, "source": source, "status": status, "q": q}
    show_list(EVENTS, at, paging, **query, since=instant(since), until=instant(until))


@events.command
def show(id: str, /, *, raw: bool = False, at: Reach = HERE) -> None:
    """Show one event with its deliveries.

    Parameters
    ----------
    id
        The event.
    raw
        Print the original bytes as the source's provider sent them, and nothing else.
    """
    node = at.node()
    if raw:
        sys.stdout.buffer.write(node.get(f"/v1/events/{segment(id)}", raw=1))
        return
    show_one(node.get(f"/v1/events/{segment(id)}"), at)


@events.command
def replay(id: str, /, *, destination: str | None = None, force: bool = False, at: Reach = HERE) -> None:
    """Deliver one event again, under the same webhook-id.

    Parameters
    ----------
    id
        The event.
    destination
        Only to this one; by default to all that want it.
    force
        Also where it was delivered already and the kind cannot drop a repeat.
    """
    body = ({"destination": destination} if destination else {}) | ({"force": True} if force else {})
    answer = at.node().call("POST", f"/v1/events/{segment(id)}/replays", body)
    count = msgspec.json.decode(answer)["count"]
    none = f"no destination wants {id}: nothing is sent; name one with --destination"
    show_done(answer, at, f"{id} is being delivered again: {counted(count, 'delivery')}" if count else none)
