"""`orderwire types`: the catalogue of event types."""

from typing import Any

from orderwire.cli.client import segment
from orderwire.cli.groups import confirm, group
from orderwire.cli.options import FIRST, HERE, Paging, Reach, Words, json_text
from orderwire.cli.output import Column, Listing, show_done, show_list, show_one

TYPES = Listing(
    "event types",
    "/v1/event-types",
    (Column("type", "type"), Column("strict", "strict"), Column("description", "description")),
)

types = group("types", "The catalogue of event types and their schemas.")


@types.command(name="list")
def list_(*, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List event types."""
    show_list(TYPES, at, paging)


@types.command
def show(type: str, /, *, at: Reach = HERE) -> None:
    """Show one event type with its schema."""
    show_one(at.node().get(f"/v1/event-types/{segment(type)}"), at)


@types.command
def put(
    type: str,
    /,
    *,
    description: str | None = None,
    schema: Words | None = None,
    strict: bool = False,
    at: Reach = HERE,
) -> None:
    """Write an event type, new or in place of the old one.

    Parameters
    ----------
    type
        As order.created.
    description
        What it means.
    schema
        JSON Schema of its data: JSON, @file, or - for standard input.
    strict
        Refuse events whose data breaks the schema.
    """
    body: dict[str, Any] = {"strict": True} if strict else {}
    if description is not None:
        body["description"] = description
    if schema is not None:
        body["schema"] = json_text(schema, "--schema")
    answer = at.node().call("PUT", f"/v1/event-types/{segment(type)}", body)
    show_done(answer, at, f"{type} written")


@types.command
def delete(type: str, /, *, yes: bool = False, at: Reach = HERE) -> None:
    """Delete an event type from the catalogue; its events stay.

    Parameters
    ----------
    type
        As order.created.
    yes
        Do not ask.
    """
    confirm(f"Delete {type}?", yes=yes)
    show_done(at.node().call("DELETE", f"/v1/event-types/{segment(type)}"), at, f"{type} deleted")
