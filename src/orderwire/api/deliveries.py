"""Deliveries, their attempts, and trying again."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from orderwire.api.answers import PageQuery, answer, listing
from orderwire.api.events import Status, WordText
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import AttemptShown, DeliveryShown, Listing
from orderwire.errors import Malformed
from orderwire.service.specs import Moment, TypePattern
from orderwire.store.base import DeliveryQuery

router = APIRouter(route_class=Route, tags=["deliveries"])


class DeliveriesQuery(PageQuery):
    """All of them must hold."""

    destination: WordText | None = None
    event: WordText | None = None
    status: Status | None = None
    type: TypePattern | None = None
    since: Moment | None = None
    until: Moment | None = None


@router.get("/v1/deliveries", name="delivery.list", response_model=Listing[DeliveryShown])
async def list_deliveries(query: Annotated[DeliveriesQuery, Query()], node: Node, by: By) -> Response:
    """Deliveries of the tenant, newest first."""
    page = await node.deliveries.list(
        by,
        DeliveryQuery(
            tenant=by.tenant,
            limit=query.limit,
            before_id=query.before_id("dlv"),
            destination=query.destination,
            event=query.event,
            status=query.status,
            type=query.type,
            since=query.since,
            until=query.until,
        ),
    )
    return listing(page, DeliveryShown.show)


@router.get("/v1/deliveries/{id}", name="delivery.get", response_model=DeliveryShown)
async def get(id: str, node: Node, by: By) -> Response:
    """One delivery."""
    return answer(DeliveryShown.show(await node.deliveries.get(by, id)))


@router.get("/v1/deliveries/{id}/attempts", name="delivery.attempts", response_model=Listing[AttemptShown])
async def list_attempts(id: str, query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """Its attempts, newest first."""
    page = await node.deliveries.attempts(by, id, query.limit, _number(query))
    return listing(page, AttemptShown.show)


@router.post("/v1/deliveries/{id}/retries", name="delivery.retry", status_code=202, response_model=DeliveryShown)
async def retry(id: str, node: Node, by: By) -> Response:
    """Try now, without spending the automatic schedule."""
    return answer(DeliveryShown.show(await node.deliveries.retry(by, id)), 202)


@router.post("/v1/deliveries/{id}/cancellation", name="delivery.cancel", response_model=DeliveryShown)
async def cancel(id: str, node: Node, by: By) -> Response:
    """Stop trying."""
    return answer(DeliveryShown.show(await node.deliveries.cancel(by, id)))


def _number(query: PageQuery) -> int | None:
    text = query.before()
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Malformed("the cursor is not one of this list's")
    return None if text is None else int(text)
