"""The OpenAPI 3.1 document: what FastAPI knows of the routes, and by hand what it does not.

Added here: the raw hot routes and the webhooks (described.py), the security scheme, the tenant header, the problem
answers of every operation, and the forms of PATCH bodies and configs.
"""

import re
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from orderwire.api.described import PATHS, PUBLIC_SCHEMAS, WEBHOOKS
from orderwire.api.hot import INGEST, LIVE
from orderwire.api.route import PUBLIC
from orderwire.destinations import KINDS
from orderwire.service.specs import DestinationSpec, SourceSpec, TenantSpec

Document = dict[str, Any]
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_TITLES = {
    400: "Not JSON, or a cursor that is none",
    401: "No key, or an unknown one",
    403: "The key's role may not",
    404: "Not there, or not yours",
    409: "It is there already, or in a state that does not allow it",
    413: "Too large",
    415: "Not application/json",
    422: "A field or parameter breaks a rule",
    429: "Too many requests; with Retry-After",
    503: "Not now; with Retry-After",
}
_ALWAYS = (400, 401, 403, 404, 422, 429, 503)
_BODY = (413, 415)
_CONFLICTS = frozenset(
    [
        "destination.create",
        "destination.change",
        "destination.activate",
        "destination.pause",
        "destination.rotate",
        "source.create",
        "source.change",
        "event_type.put",
        "tenant.create",
        "tenant.change",
        "tenant.delete",
        "key.create",
        "delivery.retry",
        "delivery.cancel",
    ]
)
_PATCHED = {"destination.change": DestinationSpec, "source.change": SourceSpec, "tenant.change": TenantSpec}


def document(app: FastAPI) -> Document:
    """The whole document; made once."""
    made = app.openapi()
    for path, item in PATHS.items():
        made["paths"].setdefault(path, {}).update(item)
    made["webhooks"] = WEBHOOKS
    made["security"] = [{"key": []}]
    _complete_components(made["components"])
    for _, operation in _operations(made):
        _complete(operation, made["components"]["schemas"])
    made["info"]["description"] = (
        "A self-hosted event backbone for commerce. Errors are RFC 9457 problem details; "
        "unknown fields and parameters are refused."
    )
    return made


class Allowed:
    """Which methods a path has, of all routes, the raw ones too. A path spelled out wins over a pattern."""

    def __init__(self, document: Document) -> None:
        self._methods = {path: _methods(path, item) for path, item in document["paths"].items()}
        self._patterns = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), methods) for path, methods in self._methods.items()
        ]

    def __call__(self, path: str) -> list[str]:
        """Sorted; empty where there is no such path."""
        if path in self._methods:
            return self._methods[path]
        return next((methods for pattern, methods in self._patterns if pattern.match(path)), [])


def _methods(path: str, item: Document) -> list[str]:
    methods = set(map(str.upper, item))
    return sorted(methods | {"HEAD"} if "GET" in methods and path not in (LIVE, f"{INGEST}{{source}}") else methods)


def _complete_components(components: Document) -> None:
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `ow_...`"}}
    components["parameters"] = {
        "Tenant": {
            "name": "Orderwire-Tenant",
            "in": "header",
            "description": "For admin keys: the tenant meant, by default `default`",
            "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
        }
    }
    schemas = components["schemas"]
    for gone in ("HTTPValidationError", "ValidationError"):
        schemas.pop(gone, None)
    schemas.update(PUBLIC_SCHEMAS)
    names = []
    for kind in KINDS.values():
        schema = dict(kind.config_schema)
        for name, inner in schema.pop("$defs", {}).items():
            schemas[name] = _relocated(inner)
        names.append(schema["title"])
        schemas[schema["title"]] = _relocated(schema)
    for name in ("DestinationSpec", "DestinationShown"):
        schemas[name]["properties"]["kind"] = {"type": "string", "enum": sorted(KINDS)}
    config = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schemas["DestinationSpec"]["properties"]["config"] = config[0] if len(config) == 1 else {"oneOf": config}


def _complete(operation: Document, schemas: Document) -> None:
    """Summary, security, tenant header and problem answers of one operation."""
    if "description" in operation:
        operation["summary"] = re.split(r"[.;:]( |$)", operation["description"])[0]
    verb = operation["operationId"].replace("_", ".", 1)
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    if operation.get("security") == [] or verb in PUBLIC:
        operation.setdefault("security", [])
        statuses: Iterable[int] = (422, 503) if verb != "metrics.read" else _ALWAYS
    else:
        parameter = {"$ref": "#/components/parameters/Tenant"}
        operation.setdefault("parameters", []).append(parameter)
        statuses = _ALWAYS
    if "requestBody" in operation:
        statuses = (*statuses, *_BODY)
    if verb in _CONFLICTS:
        statuses = (*statuses, 409)
    for status in sorted(statuses):
        responses.setdefault(str(status), _problem(status))
    if (spec := _PATCHED.get(verb)) is not None:
        _describe_patch(operation, schemas[spec.__name__])


def _describe_patch(operation: Document, spec: Document) -> None:
    """The same fields as for creating, none of them required, null for the default where there is one."""
    fields = {
        name: schema if name in spec["required"] else {"anyOf": [schema, {"type": "null"}]}
        for name, schema in spec["properties"].items()
    }
    if "config" in fields:
        fields["config"] = {"type": "object", "description": "Merged by field; null removes one"}
    operation["requestBody"]["content"] = {
        "application/json": {"schema": {"type": "object", "properties": fields, "additionalProperties": False}}
    }


def _problem(status: int) -> Document:
    answer: Document = {
        "description": _TITLES[status],
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
    return answer


def _relocated(schema: Any) -> Any:  # noqa: ANN401 - a JSON tree
    """`#/$defs/X` as `#/components/schemas/X`."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/")
            if key == "$ref" and isinstance(value, str)
            else _relocated(value)
            for key, value in schema.items()
        }
    return [_relocated(each) for each in schema] if isinstance(schema, list) else schema


def _operations(made: Document) -> list[tuple[str, Document]]:
    return [
        (method, operation)
        for item in made["paths"].values()
        for method, operation in item.items()
        if isinstance(operation, dict) and "operationId" in operation
    ]
