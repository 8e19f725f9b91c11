"""`orderwire destinations`: where events go."""

from urllib.parse import urlsplit

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.destination_body import UNSET, Shape, body_of
from orderwire.cli.failures import Usage
from orderwire.cli.groups import confirm, group
from orderwire.cli.options import FIRST, HERE, Paging, Reach, instant
from orderwire.cli.output import Column, Listing, joined, show_done, show_list, show_one

DESTINATIONS = Listing(
    "destinations",
    "/v1/destinations",
    (
        Column("id", "id"),
        Column("name", "name"),
        Column("kind", "kind"),
        Column("state", "state"),
        Column("why", "disabled_reason"),
        Column("events", "events", joined),
        Column("to", "config.url"),
    ),
)

KINDS = Listing(
    "kinds",
    "/v1/destination-kinds",
    (
        Column("kind", "kind"),
        Column("title", "title"),
        Column("available", "available"),
        Column("to install", "install_hint"),
    ),
)

destinations = group("destinations", "Where events go: create, pause, test, secrets.")


@destinations.command(name="list")
def list_(*, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List destinations."""
    show_list(DESTINATIONS, at, paging)


@destinations.command
def show(id: str, /, *, at: Reach = HERE) -> None:
    """Show one destination; its secret fields read as ***."""
    show_one(at.node().get(_path(id)), at)


@destinations.command
def create(to: str | None = None, /, *, kind: str = "webhook", shape: Shape = UNSET, at: Reach = HERE) -> None:
    """Create a destination. A webhook needs its address; other kinds are written with --body.

    Parameters
    ----------
    to
        Address the webhook posts to, https://...
    kind
        What it is; see: orderwire destinations kinds.
    """
    body = body_of(shape, to)
    body.setdefault("kind", kind)
    if body["kind"] == "webhook" and "config" not in body:
        raise Usage("where to? as: orderwire destinations create https://shop.example.com/hook")
    body.setdefault("name", _host(to) if to else kind)
    body.setdefault("events", ["*"])
    answer = at.node().call("POST", "/v1/destinations", body)
    id = msgspec.json.decode(answer)["id"]
    show_done(answer, at, f"{id} made; what it signs with: orderwire destinations secret {id}")


@destinations.command
def update(id: str, /, *, to: str | None = None, shape: Shape = UNSET, at: Reach = HERE) -> None:
    """Change what is given, leave the rest.

    Parameters
    ----------
    id
        The destination.
    to
        Its new address.
    """
    answer = at.node().call("PATCH", _path(id), body_of(shape, to))
    show_done(answer, at, f"{id} changed")


@destinations.command
def pause(id: str, /, *, at: Reach = HERE) -> None:
    """Stop sending; deliveries wait."""
    show_done(at.node().call("DELETE", _path(id, "activation")), at, f"{id} paused; its deliveries wait")


@destinations.command
def resume(id: str, /, *, at: Reach = HERE) -> None:
    """Send again, also after it was disabled."""
    show_done(at.node().call("POST", _path(id, "activation")), at, f"{id} active")


@destinations.command
def delete(id: str, /, *, yes: bool = False, at: Reach = HERE) -> None:
    """Delete it and cancel what is pending.

    Parameters
    ----------
    id
        The destination.
    yes
        Do not ask.
    """
    confirm(f"Delete {id} and cancel its pending deliveries?", yes=yes)
    show_done(at.node().call("DELETE", _path(id)), at, f"{id} deleted")


@destinations.command
def secret(id: str, /, *, at: Reach = HERE) -> None:
    """Print what a receiver verifies with; the audit log notes it."""
    answer = at.node().get(_path(id, "secret"))
    show_done(answer, at, "\n".join(msgspec.json.decode(answer)["secrets"]))


@destinations.command(name="rotate-secret")
def rotate_secret(id: str, /, *, grace_s: int | None = None, secret: str | None = None, at: Reach = HERE) -> None:
    """Make a new signing secret; old and new both sign until the grace ends.

    Parameters
    ----------
    id
        The destination.
    grace_s
        Seconds that the old secret goes on signing; by default a day.
    secret
        Use this one instead of a made one.
    """
    given = {"grace_s": grace_s, "secret": secret}
    body = {name: value for name, value in given.items() if value is not None}
    answer = at.node().call("POST", _path(id, "secret-rotations"), body)
    show_done(answer, at, f"{id} signs with a new secret too; see: orderwire destinations secret {id}")


@destinations.command(name="test")
def try_out(id: str, /, *, type: str | None = None, at: Reach = HERE) -> int:
    """Send one real, signed request now and show how it went. Exit code 1 where it was not delivered.

    Parameters
    ----------
    id
        The destination.
    type
        The event type to send.
    """
    answer = at.node().call("POST", _path(id, "tests"), {"type": type} if type else {})
    show_one(answer, at)
    return 0 if msgspec.json.decode(answer).get("outcome") == "delivered" else 1


@destinations.command
def stats(id: str, /, *, since: str | None = None, until: str | None = None, at: Reach = HERE) -> None:
    """Counts by outcome, success rate and latency.

    Parameters
    ----------
    id
        The destination.
    since
        From: 2026-11-23T20:01:18Z, 2026-11-23, or how long ago: 90m, 2d.
    until
        To, written the same way.
    """
    answer = at.node().get(_path(id, "stats"), since=instant(since), until=instant(until))
    show_one(answer, at, without=("series",))


@destinations.command
def kinds(*, at: Reach = HERE) -> None:
    """List the kinds of destination this node has."""
    show_list(KINDS, at, FIRST)


def _path(id: str, act: str = "") -> str:
    return f"/v1/destinations/{segment(id)}" + (f"/{act}" if act else "")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
