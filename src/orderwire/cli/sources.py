"""`orderwire sources`: where provider webhooks come in."""

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.groups import confirm, group
from orderwire.cli.options import FIRST, HERE, Paging, Reach, Words, json_object, pairs, words
from orderwire.cli.output import Column, Listing, show_done, show_list, show_one, when

SOURCES = Listing(
    "sources",
    "/v1/sources",
    (
        Column("id", "id"),
        Column("name", "name"),
        Column("kind", "kind"),
        Column("ingest path", "ingest_path"),
        Column("created", "created_at", when),
    ),
)
KINDS = Listing(
    "kinds",
    "/v1/source-kinds",
    (
        Column("kind", "kind"),
        Column("title", "title"),
        Column("available", "available"),
        Column("to install", "install_hint"),
    ),
)

sources = group("sources", "Where provider webhooks come in.")


@sources.command(name="list")
def list_(*, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List sources."""
    show_list(SOURCES, at, paging)


@sources.command
def kinds(*, at: Reach = HERE) -> None:
    """List the kinds of source this node has."""
    show_list(KINDS, at, FIRST)


@sources.command
def show(id: str, /, *, at: Reach = HERE) -> None:
    """Show one source; its secrets read as ***."""
    show_one(at.node().get(f"/v1/sources/{segment(id)}"), at)


@sources.command
def create(
    kind: str,
    /,
    *,
    secret: tuple[Words, ...] | None = None,
    name: str | None = None,
    config: Words | None = None,
    set: tuple[str, ...] | None = None,
    at: Reach = HERE,
) -> None:
    """Create a source and print the URL to give to the provider.

    Parameters
    ----------
    kind
        shopify, stripe, standard, ...; see: orderwire sources kinds.
    secret
        A signing secret as the provider shows it; @file or - keeps it out of the shell's history. May be
        given several times.
    name
        What people call it; by default its kind.
    config
        A JSON object with what its kind needs: JSON, @file, or - for standard input.
    set
        NAME=VALUE: one text of that object; may be given several times.
    """
    settings = {**(json_object(config, "--config") if config else {}), **pairs(set or (), "--set")}
    secrets = [words(item).decode().strip() for item in secret or ()]
    body = {"kind": kind, "name": name or kind, "secrets": secrets}
    node = at.node()
    answer = node.call("POST", "/v1/sources", body | ({"config": settings} if settings else {}))
    made = msgspec.json.decode(answer)
    show_done(answer, at, f"{made['id']} made; give the provider this URL: {node.url}{made['ingest_path']}")


@sources.command
def delete(id: str, /, *, yes: bool = False, at: Reach = HERE) -> None:
    """Delete it: what the provider sends from then on is refused.

    Parameters
    ----------
    id
        The source.
    yes
        Do not ask.
    """
    confirm(f"Delete {id}?", yes=yes)
    show_done(at.node().call("DELETE", f"/v1/sources/{segment(id)}"), at, f"{id} deleted")
