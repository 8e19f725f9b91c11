"""Event types with their schemas, and sources."""

from typing import Any

import pytest

from tests.api.node import Node

ORDER = {
    "type": "object",
    "required": ["total"],
    "properties": {"total": {"type": "integer"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}}}},
}


async def test_an_entry_is_written_replaced_and_removed(node: Node) -> None:
    path = "/v1/event-types/order.created"
    made = await node.call("PUT", path, {"description": "new", "schema": ORDER, "strict": True})
    assert made.status == 200, made.raw
    assert made.json["schema"] == ORDER
    again = await node.call("PUT", path, {"description": "newer"})
    assert (again.json["schema"], again.json["created_at"]) == (None, made.json["created_at"])
    assert [one["type"] for one in (await node.call("GET", "/v1/event-types")).json["data"]] == ["order.created"]
    assert (await node.call("DELETE", path)).status == 204
    assert (await node.call("GET", path)).status == 404
    assert (await node.call("PUT", "/v1/event-types/Order", {})).paths == ["type"]
    assert (await node.call("PUT", path, {"strict": True})).paths == ["strict"]


async def test_strict_data_is_held_to_its_schema(node: Node) -> None:
    path = "/v1/event-types/order.created"
    await node.call("PUT", path, {"schema": ORDER, "strict": True})
    types = node.services.event_types
    assert types.problems("default", "order.created", b'{"total": 1}') == []
    problems = types.problems("default", "order.created", b'{"total": "x", "lines": [{"sku": "a"}]}')
    assert sorted(problem.path for problem in problems) == [".lines[0].sku", ".total"]
    assert types.problems("other", "order.created", b"{}") == []
    await node.call("PUT", path, {"schema": ORDER})
    assert types.problems("default", "order.created", b"{}") == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://169.254.169.254/latest"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#"},
        {"properties": {"a": {"$ref": "#"}}},
        {"$ref": "#/$defs/none"},
        {"$dynamicRef": "#x"},
        {"properties": {"a": {"$id": "http://example.com", "$ref": "other"}}},
        {"type": "nonsense"},
        {"pattern": "(?=a)b"},
        {"pattern": "((((a{1,100}){1,100}){1,100}){1,100}){1,100}"},
        {"$schema": "http://example.com/mine"},
        {
            "$ref": "#/$defs/d0",
            "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}},
        },
    ],
)
async def test_a_schema_that_could_do_harm_is_refused(node: Node, schema: Any) -> None:
    refused = await node.call("PUT", "/v1/event-types/order.created", {"schema": schema})
    assert refused.status == 422, refused.raw
    assert refused.paths[0].startswith("schema")


async def test_a_property_may_be_called_like_a_keyword(node: Node) -> None:
    schema = {"properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}, "$id": {"type": "integer"}}}
    assert (await node.call("PUT", "/v1/event-types/a", {"schema": schema})).status == 200


async def test_too_large_a_schema_is_refused(node: Node) -> None:
    schema = {"description": "x" * 70_000}
    assert (await node.call("PUT", "/v1/event-types/a", {"schema": schema})).paths == ["schema"]


async def test_a_sources_life(node: Node) -> None:
    secret = "whsec_" + "C" * 32
    body = {"kind": "standard", "name": "partner", "secrets": [secret]}
    made = await node.call("POST", "/v1/sources", body)
    assert made.status == 201, made.raw
    source = made.json
    assert source["ingest_path"] == f"/in/{source['id']}"
    assert source["secrets"] == ["***"]
    path = f"/v1/sources/{source['id']}"
    fresh = "whsec_" + "D" * 32
    changed = await node.call("PATCH", path, {"secrets": [fresh, "***"]})
    assert changed.json["secrets"] == ["***", "***"], changed.raw
    kept = node.services.configuration.source_by_id(source["id"])
    assert kept is not None
    assert kept.secrets == (fresh, secret)
    assert (await node.call("PATCH", path, {"secrets": ["***", "***", "***"]})).paths == ["secrets[2]"]
    assert (await node.call("PATCH", path, {"kind": "stripe"})).status == 422
    stored = b"".join(row.body for row in await node.inner.store.load_config())
    assert secret.encode() not in stored
    assert (await node.call("DELETE", path)).status == 204
    assert node.services.configuration.source_by_id(source["id"]) is None


async def test_a_kind_looks_at_its_config(node: Node) -> None:
    assert (await node.call("POST", "/v1/sources", {"kind": "pigeon", "name": "x"})).paths == ["kind"]
    refused = await node.call("POST", "/v1/sources", {"kind": "standard", "name": "x", "secrets": []})
    assert refused.paths == ["secrets"]
    body = {"kind": "standard", "name": "x", "secrets": ["nonsense"]}
    assert (await node.call("POST", "/v1/sources", body)).paths == ["secrets[0]"]


async def test_kinds_come_with_their_forms(node: Node) -> None:
    (webhook,) = (await node.call("GET", "/v1/destination-kinds")).json["data"]
    assert webhook["kind"] == "webhook"
    assert webhook["guarantee"] == "idempotent"
    assert "url" in webhook["config_schema"]["properties"]
    page = (await node.call("GET", "/v1/source-kinds?limit=1")).json
    rest = (await node.call("GET", f"/v1/source-kinds?cursor={page['next_cursor']}")).json
    kinds = [*page["data"], *rest["data"]]
    assert {"shopify", "standard", "stripe"} <= {kind["kind"] for kind in kinds}
    assert all(kind["available"] and isinstance(kind["config_schema"], dict) for kind in kinds)
