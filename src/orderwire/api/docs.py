"""`/docs` and `/openapi.json`: one page of our own, no address outside the node, a strict content policy."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from orderwire.api.answers import answer
from orderwire.api.route import Route
from orderwire.errors import NotFound

router = APIRouter(route_class=Route, include_in_schema=False)

_ASSETS = {"app.js": "text/javascript", "app.css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/openapi.json", name="openapi.read")
async def read_openapi(request: Request) -> Response:
    """The document."""
    return answer(request.app.state.document)


@router.get("/docs", name="docs.page")
async def page() -> Response:
    """The page that renders it."""
    return _file("index.html", "text/html; charset=utf-8")


@router.get("/docs/{name}", name="docs.asset")
async def asset(name: str) -> Response:
    """Its script and style."""
    if name not in _ASSETS:
        raise NotFound(f"there is nothing at /docs/{name[:100]}")
    return _file(name, f"{_ASSETS[name]}; charset=utf-8")


def _file(name: str, media_type: str) -> Response:
    content = (files("orderwire.api") / "static" / name).read_bytes()
    headers = {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(content, headers=headers, media_type=media_type)
