"""The FastAPI application: routes, refusals, documentation. wiring.py puts the raw hot routes in front of it."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from orderwire import __version__
from orderwire.api import (
    deliveries,
    destinations,
    docs,
    event_types,
    events,
    live,
    node,
    openapi,
    problems,
    sources,
    tenants,
)
from orderwire.errors import OrderwireError
from orderwire.service.services import Services


def create_app(services: Services, *, registry: CollectorRegistry, metrics_token: str | None = None) -> FastAPI:
    """The management API of one node. `registry` is what `/metrics` shows."""
    app = FastAPI(
        title="Orderwire",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        generate_unique_id_function=lambda route: route.name.replace(".", "_"),
    )
    app.state.services = services
    app.state.registry = registry
    app.state.metrics_token = metrics_token
    for part in (events, destinations, deliveries, sources, event_types, tenants, live, node, docs):
        app.include_router(part.router)
    app.state.document = document = openapi.document(app)
    app.state.allowed = openapi.Allowed(document)
    app.add_exception_handler(OrderwireError, problems.on_refusal)
    app.add_exception_handler(RequestValidationError, problems.on_validation)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(Exception, problems.on_failure)
    return app
