"""The node itself: is it alive, is it ready, its metrics."""

import hmac

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from orderwire import __version__
from orderwire.api.answers import answer
from orderwire.api.route import Node, Route, identify
from orderwire.errors import Unavailable

router = APIRouter(route_class=Route, tags=["node"])


@router.get("/healthz", name="node.health", response_model=dict[str, str])
async def health() -> Response:
    """The process runs."""
    return answer({"status": "ok", "version": __version__})


@router.get("/readyz", name="node.ready", response_model=dict[str, str])
async def ready(node: Node) -> Response:
    """It takes events: not stopping, and the store can be written."""
    if node.stopping.is_set():
        raise Unavailable("this node is stopping")
    await node.store.ping()
    return answer({"status": "ready"})


@router.get("/metrics", name="metrics.read", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text; for any key but browser keys, or the metrics token."""
    if not _is_metrics_token(request):
        identify(request).ask("metrics.read")
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_metrics_token(request: Request) -> bool:
    token: str | None = request.app.state.metrics_token
    given = request.headers.get("authorization", "").partition(" ")[2].strip()
    return token is not None and hmac.compare_digest(given.encode(), token.encode())
