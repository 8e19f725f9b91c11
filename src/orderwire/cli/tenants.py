"""`orderwire tenants`: whose events these are. For admin keys."""

from orderwire.cli.groups import group
from orderwire.cli.options import FIRST, HERE, Paging, Reach
from orderwire.cli.output import Column, Listing, show_done, show_list, when

TENANTS = Listing(
    "tenants",
    "/v1/tenants",
    (Column("id", "id"), Column("name", "name"), Column("created", "created_at", when)),
)

tenants = group("tenants", "Whose events these are.")


@tenants.command(name="list")
def list_(*, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List tenants."""
    show_list(TENANTS, at, paging)


@tenants.command
def create(id: str, /, *, name: str | None = None, at: Reach = HERE) -> None:
    """Create a tenant.

    Parameters
    ----------
    id
        A short name in lower case; it stands in URLs and headers.
    name
        What people call it; by default its id.
    """
    answer = at.node().call("POST", "/v1/tenants", {"id": id, "name": name or id})
    show_done(answer, at, f"tenant {id} made; a key for it: orderwire keys create manager --tenant {id}")
