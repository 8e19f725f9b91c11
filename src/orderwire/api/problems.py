"""Errors as RFC 9457 problem details: the one form of every refusal, also of routes that are not there."""

import logging

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orderwire.errors import Malformed, OrderwireError, Unauthorized
from orderwire.faults import refusal

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("orderwire.api")


def problem(error: OrderwireError) -> Response:
    """The answer that says what is wrong and, where waiting helps, how long."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return Response(body_of(error), error.status, headers, MEDIA_TYPE)


def body_of(error: OrderwireError) -> bytes:
    """The problem document: `type`, `title`, `status`, `detail`, and `errors` where fields are at fault."""
    document: dict[str, object] = {
        "type": f"urn:orderwire:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if error.errors:
        document["errors"] = error.errors
    return msgspec.json.encode(document)


async def on_refusal(_: Request, error: Exception) -> Response:
    """What the service refused."""
    assert isinstance(error, OrderwireError)  # noqa: S101 - registered for this class
    return problem(error)


async def on_validation(_: Request, error: Exception) -> Response:
    """What a body's or query's model refused."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    return problem(refusal(error.errors(), skip=1))


async def on_http(request: Request, error: Exception) -> Response:
    """No such route, or not that method: with `Allow`."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    if error.status_code not in (404, 405):
        return problem(Malformed(str(error.detail)))
    path = request.url.path
    allowed = ", ".join(request.app.state.allowed(path))  # of the raw routes too, which FastAPI knows nothing of
    if not allowed:
        return problem(_Http(404, "Not found", "not-found", f"there is nothing at {path[:200]}; see /docs"))
    detail = f"{request.method} is not allowed at {path[:200]}, but {allowed}"
    answer = problem(_Http(405, "Method not allowed", "method-not-allowed", detail))
    answer.headers["allow"] = allowed
    return answer


async def on_failure(request: Request, error: Exception) -> Response:
    """Our fault; the log has the rest."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(OrderwireError("something went wrong here; it is in the node's log"))


class _Http(OrderwireError):
    """What the router itself refuses."""

    def __init__(self, status: int, title: str, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.slug = status, title, slug
