"""What somebody with bad intent sends: with a key, with a tenant's key, or with none."""

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from orderwire.clock import SECOND
from orderwire.observe.live import QUEUE_BYTES_MAX
from orderwire.observe.logs import configure_logs
from orderwire.service import callers
from orderwire.service.destinations import TESTS_MAX
from orderwire.service.specs import TestSpec
from orderwire.sources import KINDS
from tests.api.node import Node, running_node

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
URL = "https://example.com"


async def test_a_flood_of_forgeries_does_not_lock_the_provider_out(tmp_path: Path) -> None:
    async with running_node(tmp_path, source_bad_signatures_per_minute_max=3) as node:
        made = await node.call("POST", "/v1/sources", {"kind": "standard", "name": "s", "secrets": [SECRET]})
        path, body = made.json["ingest_path"], b'{"type":"order.created","data":{}}'

        async def send(message_id: str, *, forged: bool) -> int:
            headers = KINDS["standard"].sign(SECRET, body, round(time.time() * SECOND), message_id=message_id)
            headers |= {"authorization": ""}
            sent = body + b" " if forged else body
            return (await node.call("POST", path, sent, headers=headers)).status

        assert [await send(f"msg_{n}", forged=True) for n in range(6)] in (
            [401, 401, 401, 429, 429, 429],
            [401, 401, 401, 429, 429, 401],  # a minute has begun meanwhile
        )
        assert [await send(f"msg_{n}", forged=False) for n in range(6)] == [200] * 6


async def test_nobody_makes_a_node_read_a_body_for_no_source(node: Node) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"POST /in/src_0 HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n{")
    assert b" 404 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


async def test_a_query_has_few_parameters(node: Node) -> None:
    query = "&".join(f"a{n}" for n in range(9_000))
    began = time.monotonic()
    for path in ("/healthz", "/openapi.json", "/v1/events"):
        assert (await node.call("GET", f"{path}?{query}&a1")).status == 422
    assert time.monotonic() - began < 1.5  # seconds each, where each name was sought among all


@pytest.mark.parametrize("headers", [5, True, [1], [["key"]], ["authorization"], "x", {"x-key": 1}, {"x-key": None}])
async def test_headers_of_any_shape_are_answered(node: Node, headers: Any) -> None:
    body = {"kind": "webhook", "name": "x", "events": ["*"], "config": {"url": URL, "headers": headers}}
    assert (await node.call("POST", "/v1/destinations", body)).status == 422
    made = await node.destination(URL)
    config = {"config": {"headers": headers}}
    assert (await node.call("PATCH", f"/v1/destinations/{made['id']}", config)).status == 422


async def test_who_calls_is_not_remembered_under_endless_texts(node: Node) -> None:
    for blanks in range(1, 40):
        padded = {"authorization": "Bearer " + " " * 500 * blanks + node.key}
        assert (await node.call("GET", "/v1/events", headers=padded)).status == 200
    known = node.services.callers._known
    assert all(len(text or "") <= callers.KNOWN_CHARS_MAX for text, _ in known)


async def test_a_key_ends_with_its_tenant_even_where_the_delete_was_cut_short(node: Node) -> None:
    await node.call("POST", "/v1/tenants", {"id": "shop-b", "name": "B"})
    key = await node.make_key("manager", "shop-b")
    assert (await node.call("GET", "/v1/events", key=key)).status == 200
    configuration = node.inner.configuration
    await configuration.delete(configuration.tenants, ("shop-b", "shop-b"), None)
    assert (await node.call("GET", "/v1/events", key=key)).status == 404


async def _watch(node: Node, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(f"GET /v1/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
    await reader.readuntil(b": watching\n\n")
    return reader, writer


async def test_a_stream_ends_with_the_key_that_opened_it(node: Node) -> None:
    made = (await node.call("POST", "/v1/keys", {"tenant": "default", "role": "reader"})).json
    reader, writer = await _watch(node, made["key"])
    await node.publish("order.created", {"n": 1})
    assert b'"n": 1' in await reader.readuntil(b"\n\n")
    await node.call("DELETE", f"/v1/keys/{made['id']}")
    await node.publish("order.created", {"n": 2})
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5) == b"\r\n0\r\n\r\n"  # the end, nothing before it
    writer.close()


async def test_line_breaks_in_data_do_not_break_the_stream(node: Node) -> None:
    reader, writer = await _watch(node, node.key)
    await node.publish("order.created", b'{\n\n  "a": 1,\r\n  "b": "x"\r}')
    told = await reader.readuntil(b"\n\n")
    (line,) = [line for line in told.split(b"\n") if line.startswith(b"data: ")]
    assert json.loads(line.removeprefix(b"data: "))["data"] == {"a": 1, "b": "x"}
    writer.close()


async def test_who_watches_and_reads_nothing_holds_a_bounded_number_of_bytes(node: Node) -> None:
    with node.inner.live.subscribe("default") as watcher:
        for _ in range(40):
            await node.publish("order.created", b'"' + b"x" * 250_000 + b'"')
        assert watcher._bytes <= QUEUE_BYTES_MAX
        assert watcher.lost > 0


@pytest.mark.parametrize("name", ["a\n", "\x1b[31m", "\x9b31m", "\u2028"])
async def test_names_say_nothing_to_a_terminal(node: Node, name: str) -> None:
    body = {"kind": "webhook", "name": name, "events": ["*"], "config": {"url": URL}}
    assert (await node.call("POST", "/v1/destinations", body)).paths == ["name"]
    for path, spec in (("/v1/keys", {"tenant": "default", "role": "reader"}), ("/v1/tenants", {"id": "b"})):
        assert (await node.call("POST", path, spec | {"name": name})).paths == ["name"]


async def test_tests_at_once_are_bounded(node: Node) -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.close()

    gate = asyncio.Event()
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = await node.destination(f"http://127.0.0.1:{port}/")
    by = node.services.callers.identify(f"Bearer {node.key}", None)
    tests = [asyncio.create_task(node.services.destinations.test(by, made["id"], TestSpec())) for _ in range(TESTS_MAX)]
    await asyncio.sleep(0.1)
    refused = await node.call("POST", f"/v1/destinations/{made['id']}/tests")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    gate.set()
    assert {attempt.outcome for attempt in await asyncio.gather(*tests)} == {"connection_lost"}
    assert (await node.call("POST", f"/v1/destinations/{made['id']}/tests")).status == 200
    server.close()


async def test_searches_do_not_hold_up_lists(node: Node) -> None:
    for _ in range(40):
        await node.publish("order.created", b'"' + b"x" * 250_000 + b'"')
    searches = [asyncio.create_task(node.call("GET", "/v1/events?q=nothing-of-it")) for _ in range(40)]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    for _ in range(3):
        assert (await node.call("GET", "/v1/deliveries")).status == 200
    assert time.monotonic() - began < 1.5
    assert {answer.status for answer in await asyncio.gather(*searches)} == {200}


async def test_an_error_of_ours_tells_no_secret_and_takes_no_time(
    node: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(node.inner.configuration, "wanting", fail)
    monkeypatch.setattr(node.inner.configuration, "destination", fail)
    try:
        for form in ("json", "console"):
            configure_logs(form, "info")
            began = time.monotonic()
            event = {"type": "order.created", "data": {"card": "4242-SECRET"}}
            assert (await node.call("POST", "/v1/events", event)).status == 500
            assert (await node.call("GET", "/v1/destinations/x%0aFAKE%1b[31m")).status == 500
            assert time.monotonic() - began < 2
            said = capfd.readouterr().err
            assert "ZeroDivisionError" in said
            assert node.key not in said
            assert "4242-SECRET" not in said
            assert "\nFAKE" not in said
            assert "\x1b[31m" not in said
    finally:
        root.handlers[:] = before
        root.setLevel(level)
