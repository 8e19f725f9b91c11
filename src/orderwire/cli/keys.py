"""`orderwire keys`: who may call the API, and the key that encrypts secrets at rest."""

import os
from base64 import b64encode

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.groups import confirm, group
from orderwire.cli.options import FIRST, HERE, Paging, Reach
from orderwire.cli.output import Column, Listing, joined, show_done, show_list, when
from orderwire.model import DEFAULT_TENANT, Role

SECRET_KEY_BYTES = 32  # AES-256
KEYS = Listing(
    "keys",
    "/v1/keys",
    (
        Column("id", "id"),
        Column("tenant", "tenant"),
        Column("role", "role"),
        Column("name", "name"),
        Column("origins", "origins", joined),
        Column("created", "created_at", when),
    ),
)

keys = group("keys", "API keys, and the key that encrypts secrets.")


@keys.command(name="list")
def list_(*, paging: Paging = FIRST, at: Reach = HERE) -> None:
    """List keys; a key itself is never shown again."""
    show_list(KEYS, at, paging)


@keys.command
def create(role: Role, /, *, name: str | None = None, origin: tuple[str, ...] | None = None, at: Reach = HERE) -> None:
    """Create a key, for the tenant named by --tenant. It is printed once.

    Parameters
    ----------
    role
        What it may do.
    name
        What people call it.
    origin
        For browser keys: an origin that may publish with it; may be given several times.
    """
    tenant = at.tenant or os.environ.get("ORDERWIRE_TENANT") or DEFAULT_TENANT
    body: dict[str, object] = {"tenant": tenant, "role": role.value}
    body |= ({"name": name} if name else {}) | ({"origins": list(origin)} if origin else {})
    answer = at.node().call("POST", "/v1/keys", body)
    made = msgspec.json.decode(answer)
    show_done(answer, at, f"{made['key']}\n{made['id']} made: copy the key above now, it is not shown again")


@keys.command
def delete(id: str, /, *, yes: bool = False, at: Reach = HERE) -> None:
    """Delete a key: whoever uses it is refused from then on.

    Parameters
    ----------
    id
        The key's id, key_...
    yes
        Do not ask.
    """
    confirm(f"Delete {id}?", yes=yes)
    show_done(at.node().call("DELETE", f"/v1/keys/{segment(id)}"), at, f"{id} deleted")


@keys.command(name="generate-secret-key")
def generate_secret_key() -> None:
    """Print a fresh ORDERWIRE_SECRET_KEY; asks no node."""
    print(b64encode(os.urandom(SECRET_KEY_BYTES)).decode("ascii"))
