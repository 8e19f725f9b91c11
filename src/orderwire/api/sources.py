"""Sources, and the kinds of sources and destinations that this node has."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from orderwire.api.answers import PageQuery, answer, listing, nothing, whole
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import DestinationKindShown, KindShown, Listing, SourceShown
from orderwire.destinations import KINDS as DESTINATION_KINDS
from orderwire.service.specs import SourceSpec

router = APIRouter(route_class=Route, tags=["sources"])


@router.post("/v1/sources", name="source.create", status_code=201, response_model=SourceShown)
async def create(spec: SourceSpec, node: Node, by: By) -> Response:
    """A new source; its `ingest_path` takes webhooks at once."""
    made = await node.sources.create(by, spec)
    return answer(SourceShown.show(made), 201, {"location": f"/v1/sources/{made.id}"})


@router.get("/v1/sources", name="source.list", response_model=Listing[SourceShown])
async def list_sources(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """Sources of the tenant, newest first."""
    return listing(node.sources.list(by, query.limit, query.before()), SourceShown.show)


@router.get("/v1/sources/{id}", name="source.get", response_model=SourceShown)
async def get(id: str, node: Node, by: By) -> Response:
    """One source; its secrets read as `***`."""
    return answer(SourceShown.show(node.sources.get(by, id)))


@router.patch("/v1/sources/{id}", name="source.change", response_model=SourceShown)
async def change(id: str, changes: Annotated[dict[str, Any], Body()], node: Node, by: By) -> Response:
    """Change what is given; the k-th `***` among `secrets` keeps the k-th stored one."""
    return answer(SourceShown.show(await node.sources.patch(by, id, changes)))


@router.delete("/v1/sources/{id}", name="source.delete", status_code=204, response_model=None)
async def delete(id: str, node: Node, by: By) -> Response:
    """Remove it; its events stay."""
    await node.sources.delete(by, id)
    return nothing()


@router.get("/v1/source-kinds", name="source_kind.list", response_model=Listing[KindShown])
async def list_source_kinds(query: Annotated[PageQuery, Query()], node: Node) -> Response:
    """Kinds of sources, with the form of each one's config."""
    kinds = sorted(node.sources.kinds.values(), key=lambda kind: kind.kind)
    return listing(whole(kinds, query, lambda kind: kind.kind), KindShown.show)


@router.get(
    "/v1/destination-kinds",
    name="destination_kind.list",
    response_model=Listing[DestinationKindShown],
    tags=["destinations"],
)
async def list_destination_kinds(query: Annotated[PageQuery, Query()]) -> Response:
    """Kinds of destinations, with the form of each one's config."""
    kinds = sorted(DESTINATION_KINDS.values(), key=lambda kind: kind.kind)
    return listing(whole(kinds, query, lambda kind: kind.kind), DestinationKindShown.show)
