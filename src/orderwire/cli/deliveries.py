"""`orderwire deliveries`: what was sent where, and how it went."""

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.groups import group
from orderwire.cli.options import FIRST, HERE, Paging, Reach, instant
from orderwire.cli.output import Column, Listing, rounded, show_done, show_list, show_one, when

DELIVERIES = Listing(
    "deliveries",
    "/v1/deliveries",
    (
        Column("id", "id"),
        Column("status", "status"),
        Column("reason", "reason"),
        Column("tries", "attempt_count"),
        Column("next", "next_attempt_at", when),
        Column("event", "event"),
        Column("type", "type"),
        Column("destination", "destination"),
    ),
)
ATTEMPTS = (
    Column("#", "number"),
    Column("started", "started_at", when),
    Column("outcome", "outcome"),
    Column("answer", "status_code"),
    Column("ms", "duration_ms", rounded),
    Column("error", "error"),
)

deliveries = group("deliveries", "What was sent where: list, attempts, retry, cancel.")


@deliveries.command(name="list")
def list_(
    *,
    destination: str | None = None,
    event: str | None = None,
    status: str | None = None,
    type: str | None = None,
    since: str | None = None,
    until: str | None = None,
    paging: Paging = FIRST,
    at: Reach = HERE,
) -> None:
    """List deliveries, newest first.

    Parameters
    ----------
    destination
        Only to this destination.
    event
        Only of this event.
    status
        pending, retrying, delivered, failed or cancelled.
    type
        Only events of this type, or 'order.*'.
    since
        Received at or after: 2026-11-23T20:01:18Z, 2026-11-23, or how long ago: 90m, 2d.
    until
        Received before, written the same way.
    """
    query = {"destination": destination, "event": event, "status": status, "type": type}
    show_list(DELIVERIES, at, paging, **query, since=instant(since), until=instant(until))


@deliveries.command
def show(id: str, /, *, at: Reach = HERE) -> None:
    """Show one delivery."""
    show_one(at.node().get(f"/v1/deliveries/{segment(id)}"), at)


@deliveries.command
def attempts(id: str, /, *, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List the attempts of one delivery, newest first."""
    show_list(Listing("attempts", f"/v1/deliveries/{segment(id)}/attempts", ATTEMPTS), at, paging)


@deliveries.command
def retry(id: str, /, *, at: Reach = HERE) -> None:
    """Try now, without spending the automatic schedule."""
    answer = at.node().call("POST", f"/v1/deliveries/{segment(id)}/retries")
    show_done(answer, at, f"{id} is tried now; see: orderwire deliveries attempts {id}")


@deliveries.command
def cancel(id: str, /, *, at: Reach = HERE) -> None:
    """Stop trying."""
    answer = at.node().call("POST", f"/v1/deliveries/{segment(id)}/cancellation")
    status = msgspec.json.decode(answer).get("status") if answer else "cancelled"
    show_done(answer, at, f"{id} is {status}")
