"""The catalogue of event types."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from orderwire.api.answers import PageQuery, answer, listing, nothing
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import EventTypeShown, Listing
from orderwire.service.specs import EventTypeSpec, TypeName

router = APIRouter(route_class=Route, tags=["event types"])


@router.put("/v1/event-types/{type}", name="event_type.put", response_model=EventTypeShown)
async def put(type: TypeName, spec: EventTypeSpec, node: Node, by: By) -> Response:
    """Write an entry, new or in place of the old one. With `strict`, data that breaks the schema is refused."""
    return answer(EventTypeShown.show(await node.event_types.put(by, type, spec)))


@router.get("/v1/event-types", name="event_type.list", response_model=Listing[EventTypeShown])
async def list_event_types(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """The tenant's catalogue, newest first."""
    return listing(node.event_types.list(by, query.limit, query.before()), EventTypeShown.show)


@router.get("/v1/event-types/{type}", name="event_type.get", response_model=EventTypeShown)
async def get(type: str, node: Node, by: By) -> Response:
    """One entry."""
    return answer(EventTypeShown.show(node.event_types.get(by, type)))


@router.delete("/v1/event-types/{type}", name="event_type.delete", status_code=204, response_model=None)
async def delete(type: str, node: Node, by: By) -> Response:
    """Remove an entry."""
    await node.event_types.delete(by, type)
    return nothing()
