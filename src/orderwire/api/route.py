"""What every route does before its verb is asked: who calls, may they, is the request well-formed.

A route's name is the verb it asks (`destination.create`), so a caller whose role has not the verb is told before the
body is read. The service asks again: it has other callers than this API.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from orderwire.errors import FieldError, Invalid, Malformed, TooLarge, UnsupportedMedia
from orderwire.ingest.jsontext import check
from orderwire.service.callers import Caller
from orderwire.service.services import Services

BODY_BYTES_MAX = 1024 * 1024
QUERY_PARAMETERS_MAX = 50
PUBLIC = frozenset({"node.health", "node.ready", "metrics.read", "docs.page", "docs.asset", "openapi.read"})
TENANT_HEADER = "orderwire-tenant"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose body is bounded and is JSON that every reader understands alike."""

    _raw: bytes | None = None

    async def body(self) -> bytes:
        """At most BODY_BYTES_MAX. Raises TooLarge."""
        if self._raw is None:
            self._raw = await self._read()
        return self._raw

    async def _read(self) -> bytes:
        parts, size = [], 0
        try:
            async for part in self.stream():
                parts.append(part)
                size += len(part)
                if max(size, _declared_bytes(self.headers)) > BODY_BYTES_MAX:
                    raise TooLarge(f"a request's body is at most {BODY_BYTES_MAX // 1024} KiB here")
        except ClientDisconnect:
            raise Malformed("the body ended early") from None
        return b"".join(parts)

    async def json(self) -> Any:  # noqa: ANN401 - as Starlette has it
        """Raises Malformed, UnsupportedMedia."""
        return check(await self.body())


class Route(APIRoute):
    """A route that refuses early."""

    def get_route_handler(self) -> Handler:
        """The handler behind the gate."""
        inner = super().get_route_handler()
        verb, takes_query, takes_body = self.name, bool(self.dependant.query_params), self.body_field is not None

        async def gate(request: Request) -> Response:
            if verb not in PUBLIC:
                request.state.caller = identify(request)
                request.state.caller.ask(verb)
            _check_query(request, takes_query=takes_query)
            strict = StrictRequest(request.scope, request.receive)
            if takes_body and await strict.body():
                _check_content_type(request.headers)
                await strict.json()  # here, because FastAPI would hide what it raises
            return await inner(strict)

        return gate


def identify(request: Request) -> Caller:
    """Who calls. Raises Unauthorized, NotFound, TooManyRequests."""
    services: Services = request.app.state.services
    return services.callers.identify(request.headers.get("authorization"), request.headers.get(TENANT_HEADER))


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Node = Annotated[Services, Depends(_services)]
By = Annotated[Caller, Depends(_caller)]


def _declared_bytes(headers: Headers) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 20 else 0


def _check_query(request: Request, *, takes_query: bool) -> None:
    """Refuse a parameter given twice, and any where none is taken. Unknown ones the query's model refuses."""
    if not request.scope["query_string"]:
        return
    if request.scope["query_string"].count(b"&") >= QUERY_PARAMETERS_MAX:
        raise Invalid(f"a query has at most {QUERY_PARAMETERS_MAX} parameters")
    names = [name for name, _ in request.query_params.multi_items()]
    if not names:
        return
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid("a query parameter is given twice", tuple(FieldError(name, "is given twice") for name in twice))
    if not takes_query:
        raise Invalid.field(names[0][:100], "there is no such query parameter")


def _check_content_type(headers: Headers) -> None:
    declared = headers.get("content-type")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("a request's body is not compressed here")
    if declared is None or declared.partition(";")[0].strip().lower() == "application/json":
        return
    raise UnsupportedMedia("write content-type: application/json")
