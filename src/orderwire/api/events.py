"""Events: list, read, send again. Publishing is a raw route (described.py)."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from orderwire.api.answers import PageQuery, answer, listing
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import DeliveryShown, EventDetail, EventListing, EventShown, JobShown
from orderwire.clock import to_rfc3339
from orderwire.ids import id_time_us
from orderwire.model import DeliveryStatus, RawBody
from orderwire.service.specs import Moment, ReplaySpec, TypePattern
from orderwire.store.base import EventQuery

router = APIRouter(route_class=Route, tags=["events"])

Status = Annotated[DeliveryStatus, Field(strict=False)]
Replaying = Annotated[ReplaySpec, Body(default_factory=ReplaySpec)]
WordText = Annotated[str, Field(min_length=1, max_length=256)]


class EventsQuery(PageQuery):
    """All of them must hold."""

    type: TypePattern | None = None
    subject: WordText | None = None
    source: WordText | None = None
    since: Moment | None = None
    until: Moment | None = None
    status: Status | None = None
    q: WordText | None = None


class EventRead(BaseModel):
    """`raw=1`: the original bytes of a source instead."""

    model_config = ConfigDict(extra="forbid")

    raw: Literal["0", "1"] = "0"


@router.get("/v1/events", name="event.list", response_model=EventListing[EventShown])
async def list_events(query: Annotated[EventsQuery, Query()], node: Node, by: By) -> Response:
    """Events of the tenant. `type` takes `order.*` (any depth); `q` looks in ids and subjects, else in payloads."""
    page = await node.reading.list(
        by,
        EventQuery(
            tenant=by.tenant,
            limit=query.limit,
            before_id=query.before_id("evt"),
            type=query.type,
            subject=query.subject,
            source=query.source,
            status=query.status,
            text=query.q,
            since=query.since,
            until=query.until,
        ),
    )
    if query.q is None:
        return listing(page, EventShown.show)
    searched = id_time_us(page.next_id) if page.next_id else query.since or 0
    return listing(page, EventShown.show, searched_until=to_rfc3339(searched))


@router.get(
    "/v1/events/{id}",
    name="event.get",
    response_model=EventDetail,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def get_event(id: str, query: Annotated[EventRead, Query()], node: Node, by: By) -> Response:
    """One event with its deliveries, or the original bytes its provider sent."""
    if query.raw == "1":
        return _raw_answer(await node.reading.raw(by, id))
    event, deliveries = await node.reading.get(by, id)
    return answer({**EventShown.show(event), "deliveries": [DeliveryShown.show(one) for one in deliveries]})


@router.post("/v1/events/{id}/replays", name="event.replay", status_code=202, response_model=JobShown)
async def replay_event(id: str, node: Node, by: By, spec: Replaying) -> Response:
    """New deliveries of the same event, under the same `webhook-id`."""
    return answer({"id": id, "count": await node.reading.replay(by, id, spec)}, 202)


def _raw_answer(raw: RawBody) -> Response:
    """What others sent must never run in a browser at our address."""
    return Response(
        raw.body,
        headers={
            "content-type": "application/octet-stream",
            "orderwire-content-type": raw.content_type.encode("ascii", "replace").decode()[:200],
            "content-disposition": "attachment",
            "content-security-policy": "sandbox",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        },
    )
