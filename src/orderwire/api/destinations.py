"""Destinations and what is done to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, ConfigDict

from orderwire.api.answers import PageQuery, answer, listing, nothing
from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import (
    AttemptShown,
    DestinationShown,
    JobShown,
    Listing,
    SecretsShown,
    StatsShown,
)
from orderwire.clock import DAY
from orderwire.errors import Invalid
from orderwire.service.specs import (
    BulkReplaySpec,
    DestinationSpec,
    Moment,
    RotationSpec,
    TestSpec,
)

STATS_SPAN_DEFAULT, STATS_SPAN_MAX = DAY, 400 * DAY

router = APIRouter(route_class=Route, tags=["destinations"])
Changes = Annotated[dict[str, Any], Body()]
Rotating = Annotated[RotationSpec, Body(default_factory=RotationSpec)]
Testing = Annotated[TestSpec, Body(default_factory=TestSpec)]


class StatsQuery(BaseModel):
    """From and to; by default the last day."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = None
    until: Moment | None = None


@router.post("/v1/destinations", name="destination.create", status_code=201, response_model=DestinationShown)
async def create(spec: DestinationSpec, node: Node, by: By) -> Response:
    """A new destination, active at once."""
    made = await node.destinations.create(by, spec)
    return answer(DestinationShown.show(made), 201, {"location": f"/v1/destinations/{made.id}"})


@router.get("/v1/destinations", name="destination.list", response_model=Listing[DestinationShown])
async def list_destinations(query: Annotated[PageQuery, Query()], node: Node, by: By) -> Response:
    """Destinations of the tenant, newest first."""
    return listing(node.destinations.list(by, query.limit, query.before()), DestinationShown.show)


@router.get("/v1/destinations/{id}", name="destination.get", response_model=DestinationShown)
async def get(id: str, node: Node, by: By) -> Response:
    """One destination; secret fields read as `***`."""
    return answer(DestinationShown.show(node.destinations.get(by, id)))


@router.patch("/v1/destinations/{id}", name="destination.change", response_model=DestinationShown)
async def change(id: str, changes: Changes, node: Node, by: By) -> Response:
    """Change what is given: null returns a field to its default, `***` keeps a secret, `config` is merged by field."""
    return answer(DestinationShown.show(await node.destinations.patch(by, id, changes)))


@router.delete("/v1/destinations/{id}", name="destination.delete", status_code=204, response_model=None)
async def delete(id: str, node: Node, by: By) -> Response:
    """Remove it and cancel what is pending."""
    await node.destinations.delete(by, id)
    return nothing()


@router.post("/v1/destinations/{id}/activation", name="destination.activate", response_model=DestinationShown)
async def activate(id: str, node: Node, by: By) -> Response:
    """Resume, also after it was disabled; resets breaker and Retry-After hold."""
    return answer(DestinationShown.show(await node.destinations.activate(by, id)))


@router.delete("/v1/destinations/{id}/activation", name="destination.pause", response_model=DestinationShown)
async def pause(id: str, node: Node, by: By) -> Response:
    """Pause: deliveries wait, none is lost before retention."""
    return answer(DestinationShown.show(await node.destinations.pause(by, id)))


@router.get("/v1/destinations/{id}/secret", name="destination.secret", response_model=SecretsShown)
async def read_secret(id: str, node: Node, by: By) -> Response:
    """What a receiver verifies with. The audit log notes that it was read."""
    return answer(_secrets(await node.rotation.read(by, id)))


@router.post(
    "/v1/destinations/{id}/secret-rotations",
    name="destination.rotate",
    status_code=201,
    response_model=SecretsShown,
)
async def rotate_secret(id: str, node: Node, by: By, spec: Rotating) -> Response:
    """A new secret; both sign until the grace ends."""
    return answer(_secrets(await node.rotation.rotate(by, id, spec)), 201)


@router.post("/v1/destinations/{id}/tests", name="destination.test", response_model=AttemptShown)
async def send_test(id: str, node: Node, by: By, spec: Testing) -> Response:
    """One real signed request, at once; answers with the attempt."""
    return answer(AttemptShown.show(await node.destinations.test(by, id, spec)))


@router.post("/v1/destinations/{id}/replays", name="destination.replay", status_code=202, response_model=JobShown)
async def replay(id: str, spec: BulkReplaySpec, node: Node, by: By) -> Response:
    """Send a span of its events again, each exactly once: a stored job that survives a restart."""
    job = await node.destinations.replay(by, id, spec)
    return answer({"id": job.id, "count": job.count}, 202)


@router.get("/v1/destinations/{id}/stats", name="destination.stats", response_model=StatsShown)
async def stats(id: str, query: Annotated[StatsQuery, Query()], node: Node, by: By) -> Response:
    """Counts by outcome, success rate, latency, and a time series."""
    until = node.clock.now() if query.until is None else query.until
    since = until - STATS_SPAN_DEFAULT if query.since is None else query.since
    if since > until:
        raise Invalid.field("since", "is after until")
    since = max(0, since, until - STATS_SPAN_MAX)
    return answer(StatsShown.show(await node.destinations.stats(by, id, since, until)))


def _secrets(secrets: tuple[str, ...]) -> dict[str, Any]:
    return {"secret": secrets[0] if secrets else None, "secrets": secrets}
