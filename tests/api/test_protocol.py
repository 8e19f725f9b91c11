"""The edges: bad bytes, unknown routes, health, documentation."""

import asyncio
import http.client
import json
import re

import pytest

from tests.api.node import Node

BODY = b'{"kind":"webhook","name":"x","events":["*"],"config":{"url":"https://example.com"}}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"name":"\xff"}', 400),
        (b'{"name":"a","name":"b"}', 400),
        (b'{"concurrency":NaN}', 400),
        (b'{"concurrency":1e999}', 400),
        (b'{"name":"\\ud800"}', 400),
        (b'{"config":' + b"[" * 70 + b"]" * 70 + b"}", 400),
        (b'{"config":' + b"[" * 100_000 + b"}", 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
async def test_bad_bytes_are_refused_and_nothing_is_kept(node: Node, body: bytes, status: int) -> None:
    refused = await node.call("POST", "/v1/destinations", body)
    assert refused.status == status, refused.raw
    assert refused.headers["content-type"] == "application/problem+json"
    assert set(refused.json) >= {"type", "title", "status", "detail"}
    assert (await node.call("GET", "/v1/destinations")).json["data"] == []


async def test_the_content_type_must_be_json(node: Node) -> None:
    for header in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        assert (await node.call("POST", "/v1/destinations", BODY, headers=header)).status == 415
    assert (await node.call("POST", "/v1/destinations", BODY, headers={"content-encoding": "gzip"})).status == 415
    for header in ({"content-type": "application/json; charset=utf-8"}, {"content-type": ""}):
        assert (await node.call("POST", "/v1/destinations", BODY, headers=header)).status == 201


async def test_a_route_that_is_not_there_is_a_problem_too(node: Node) -> None:
    missing = await node.call("GET", "/v1/nothing")
    assert (missing.status, missing.json["title"]) == (404, "Not found")
    wrong = await node.call("PUT", "/v1/destinations/dst_1", {})
    assert wrong.status == 405
    assert wrong.headers["allow"] == "DELETE, GET, HEAD, PATCH"
    raw = await node.call("PUT", "/in/src_1", {})
    assert (raw.status, raw.headers["allow"]) == (405, "GET, POST")
    assert (await node.call("PUT", "/v1/events")).headers["allow"] == "GET, HEAD, POST"
    for method in ("OPTIONS", "TRACE", "QUERY"):
        assert (await node.call(method, "/v1/destinations")).status == 405


async def test_head_answers_as_get_without_the_body(node: Node) -> None:
    for path in ("/healthz", "/docs", "/v1/destinations"):
        asked, headed = await node.call("GET", path), await node.call("HEAD", path)
        assert (headed.status, headed.raw) == (asked.status, b"")
        assert headed.headers["content-length"] == asked.headers["content-length"]
    endless = await node.call("HEAD", "/v1/live")
    assert (endless.status, endless.headers["allow"]) == (405, "GET")
    assert (await node.call("HEAD", "/in/src_1")).status == 405


async def test_health(node: Node) -> None:
    nobody = {"authorization": ""}
    assert (await node.call("GET", "/healthz", headers=nobody)).json["status"] == "ok"
    assert (await node.call("HEAD", "/readyz", headers=nobody)).status == 200
    node.services.stopping.set()
    stopping = await node.call("GET", "/readyz", headers=nobody)
    assert (stopping.status, stopping.headers["retry-after"]) == (503, "5")
    assert (await node.call("GET", "/healthz?x=1", headers=nobody)).status == 422


async def test_the_documentation_needs_nothing_from_outside(node: Node) -> None:
    page = await node.call("GET", "/docs", headers={"authorization": ""})
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"//" not in page.raw.replace(b"<!doctype", b"")
    for name in re.findall(r'(?:src|href)="(/docs/[^"]+)"', page.raw.decode()):
        assert (await node.call("GET", name)).status == 200
    assert (await node.call("GET", "/docs/../app.py")).status == 404


async def test_the_openapi_document_is_whole(node: Node) -> None:
    document = (await node.call("GET", "/openapi.json", headers={"authorization": ""})).json
    assert document["openapi"].startswith("3.1")
    assert {"post", "get"} <= set(document["paths"]["/v1/events"])
    assert "/in/{source}" in document["paths"]
    assert "event" in document["webhooks"]
    text = json.dumps(document)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found = document
        for part in reference.split("/"):
            found = found[part]
    assert "HTTPValidationError" not in text
    assert "#/$defs" not in text


async def test_a_body_that_says_it_is_too_large_is_not_read(node: Node) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=5)
    connection.putrequest("POST", "/v1/destinations")
    for name, value in (
        ("authorization", f"Bearer {node.key}"),
        ("content-type", "application/json"),
        ("content-length", "99999999"),
    ):
        connection.putheader(name, value)
    connection.endheaders(b"{")
    answer = await asyncio.to_thread(connection.getresponse)
    assert answer.status == 413
    connection.close()
