"""`orderwire sources`: where provider webhooks come in."""

import os

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

    It begins with ORDERWIRE_PUBLIC_URL where that is set, else with the node's address as given here.

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
    settings = _settings(config, set)
    body = {"kind": kind, "name": name or kind, "secrets": _texts(secret)}
    node = at.node()
    answer = node.call("POST", "/v1/sources", body | ({"config": settings} if settings else {}))
    made = msgspec.json.decode(answer)
    url = (os.environ.get("ORDERWIRE_PUBLIC_URL") or node.url).rstrip("/")
    show_done(answer, at, f"{made['id']} made; give the provider this URL: {url}{made['ingest_path']}")


@sources.command
def update(
    id: str,
    /,
    *,
    secret: tuple[Words, ...] | None = None,
    add_secret: tuple[Words, ...] | None = None,
    name: str | None = None,
    config: Words | None = None,
    set: tuple[str, ...] | None = None,
    at: Reach = HERE,
) -> None:
    """Change what is given, leave the rest.

    Parameters
    ----------
    id
        The source.
    secret
        In place of all signing secrets it has; @file or - keeps it out of the shell's history. May be given
        several times.
    add_secret
        Beside those it has: for a rotation at the provider.
    name
        Its new name.
    config
        A JSON object with fields of its config to change, null for none: JSON, @file, or - for standard input.
    set
        NAME=VALUE: one text of that object; may be given several times.
    """
    node, path = at.node(), f"/v1/sources/{segment(id)}"
    body: dict[str, object] = {"name": name} if name else {}
    secrets = _texts(secret)
    if add_secret:
        secrets = _texts(add_secret) + (secrets or msgspec.json.decode(node.get(path))["secrets"])
    if secrets:
        body["secrets"] = secrets
    if settings := _settings(config, set):
        body["config"] = settings
    show_done(node.call("PATCH", path, body), at, f"{id} changed")


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


def _texts(secrets: tuple[str, ...] | None) -> list[str]:
    return [words(item).decode().strip() for item in secrets or ()]


def _settings(config: str | None, texts: tuple[str, ...] | None) -> dict[str, object]:
    return {**(json_object(config, "--config") if config else {}), **pairs(texts or (), "--set")}
