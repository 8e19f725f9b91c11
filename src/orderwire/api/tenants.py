"""Tenants, keys and the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from orderwire.api.answers import PageQuery, answer, listing, nothing
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import AuditShown, KeyMade, KeyShown, Listing, TenantShown
from orderwire.service.specs import KeySpec, TenantSpec

router = APIRouter(route_class=Route, tags=["tenants"])


@router.post("/v1/tenants", name="tenant.create", status_code=201, response_model=TenantShown)
async def create_tenant(spec: TenantSpec, node: Node, by: By) -> Response:
    """A new tenant."""
    made = await node.tenants.create(by, spec)
    return answer(TenantShown.show(made), 201, {"location": f"/v1/tenants/{made.id}"})


@router.get("/v1/tenants", name="tenant.list", response_model=Listing[TenantShown])
async def list_tenants(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """All tenants, newest first."""
    return listing(node.tenants.list(by, query.limit, query.before()), TenantShown.show)


@router.get("/v1/tenants/{id}", name="tenant.get", response_model=TenantShown)
async def get_tenant(id: str, node: Node, by: By) -> Response:
    """One tenant."""
    return answer(TenantShown.show(node.tenants.get(by, id)))


@router.patch("/v1/tenants/{id}", name="tenant.change", response_model=TenantShown)
async def change_tenant(id: str, changes: Annotated[dict[str, Any], Body()], node: Node, by: By) -> Response:
    """Its name or retention."""
    return answer(TenantShown.show(await node.tenants.patch(by, id, changes)))


@router.delete("/v1/tenants/{id}", name="tenant.delete", status_code=204, response_model=None)
async def delete_tenant(id: str, node: Node, by: By) -> Response:
    """Remove it with its keys, catalogue and events; not while it has destinations or sources."""
    await node.tenants.delete(by, id)
    return nothing()


@router.post("/v1/keys", name="key.create", status_code=201, response_model=KeyMade)
async def create_key(spec: KeySpec, node: Node, by: By) -> Response:
    """A new key; `key` is shown this once."""
    key, text = await node.keys.create(by, spec)
    return answer({**KeyShown.show(key), "key": text}, 201)


@router.get("/v1/keys", name="key.list", response_model=Listing[KeyShown])
async def list_keys(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """All keys, newest first, without the keys themselves."""
    return listing(node.keys.list(by, query.limit, query.before()), KeyShown.show)


@router.delete("/v1/keys/{id}", name="key.delete", status_code=204, response_model=None)
async def delete_key(id: str, node: Node, by: By) -> Response:
    """Whoever uses it is refused from now on."""
    await node.keys.delete(by, id)
    return nothing()


@router.get("/v1/audit", name="audit.list", response_model=Listing[AuditShown])
async def list_audit(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """Who changed or saw what in the tenant, newest first."""
    return listing(await node.audit.list(by, query.limit, query.before_id("aud")), AuditShown.show)
