"""Destinations over HTTP: what is kept, what is shown, what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orderwire.signing import verify
from tests.api.node import ADMIN, Node, running_node, until
from tests.delivery.http_servers import OK, answering, serving

CONFIG = {
    "url": "https://example.com/hook",
    "headers": {"x-shop": "one", "X-Api-Key": "abc123"},
    "auth": {"basic": {"username": "u", "password": "p4ss-word"}},
}


async def test_a_new_destination_reads_as_it_was_written_but_for_its_secrets(node: Node) -> None:
    made = await node.destination(config=CONFIG, rate_limit={"per_second": 50})
    assert made["config"] == {
        "url": "https://example.com/hook",
        "headers": {"x-shop": "one", "X-Api-Key": "***"},
        "timeout_s": 15,
        "signing": "v1",
        "payload": "standard",
        "auth": {"basic": {"username": "u", "password": "***"}},
    }
    assert made["state"] == "active"
    assert made["rate_limit"] == {"per_second": 50, "burst": 5}
    assert made["retry"]["schedule_s"][:3] == [0, 5, 300]
    assert (await node.call("GET", f"/v1/destinations/{made['id']}")).json == made
    assert (await node.call("GET", "/v1/destinations")).json == {"data": [made], "next_cursor": None}


async def test_secrets_are_sealed_in_the_file(node: Node, tmp_path: Path) -> None:
    made = await node.destination(config=CONFIG)
    secret = (await node.call("GET", f"/v1/destinations/{made['id']}/secret")).json["secret"]
    stored = await asyncio.to_thread(_bytes_of, tmp_path)
    assert made["id"].encode() in stored
    for hidden in (secret, "p4ss-word", "abc123", ADMIN):
        assert hidden.encode() not in stored


async def test_all_survives_a_restart(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        made = await node.destination(config=CONFIG, filter={"data.total": {"$gt": 5}})
        secret = (await node.call("GET", f"/v1/destinations/{made['id']}/secret")).json
        key = await node.make_key("reader")
    async with running_node(tmp_path) as node:
        assert (await node.call("GET", f"/v1/destinations/{made['id']}", key=key)).json == made
        assert (await node.call("GET", f"/v1/destinations/{made['id']}/secret")).json == secret


async def test_a_patch_changes_what_it_names_and_keeps_masked_secrets(node: Node) -> None:
    made = await node.destination(config=CONFIG)
    path = f"/v1/destinations/{made['id']}"
    changed = await node.call("PATCH", path, {"config": {**made["config"], "timeout_s": 30}, "name": "new"})
    assert changed.status == 200, changed.raw
    assert changed.json["config"]["timeout_s"] == 30
    kept = node.services.configuration.destination("default", made["id"])
    assert kept is not None
    assert kept.config["headers"]["X-Api-Key"] == "abc123"
    assert kept.config["auth"]["basic"]["password"] == "p4ss-word"
    changed = await node.call("PATCH", path, {"config": {"auth": None}, "concurrency": 3})
    assert "auth" not in changed.json["config"]
    changed = await node.call("PATCH", path, {"concurrency": None, "config": {"headers": {"x-api-key": "***"}}})
    assert changed.status == 422
    assert changed.paths == ["config.headers.x-api-key"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"nam": "x"}, "nam"),
        ({"kind": "pigeon"}, "kind"),
        ({"events": []}, "events"),
        ({"events": ["Order"]}, "events[0]"),
        ({"events": ["order.*.x"]}, "events[0]"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "5"}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"retry": {"schedule_s": []}}, "retry.schedule_s"),
        ({"retry": {"schedule_s": [0, -1]}}, "retry.schedule_s[1]"),
        ({"rate_limit": {"per_second": 0}}, "rate_limit.per_second"),
        ({"ordering": "random"}, "ordering"),
        ({"filter": {"data.x": {"$regex": "a"}}}, "filter.data.x.$regex"),
        ({"config": {}}, "config.url"),
        ({"config": {"url": "ftp://example.com"}}, "config.url"),
        ({"config": {"url": "https://user:pw@example.com"}}, "config.url"),
        ({"config": {"url": "https://example.com", "timeout_s": 61}}, "config.timeout_s"),
        ({"config": {"url": "https://example.com", "headers": {"Host": "x"}}}, "config.headers"),
        ({"config": {"url": "https://example.com", "headers": {"webhook-id": "x"}}}, "config.headers"),
        ({"config": {"url": "https://example.com", "headers": {"a": "x\r\nb: c"}}}, "config.headers"),
        ({"config": {"url": "https://example.com", "headers": {"a b": "x"}}}, "config.headers"),
        ({"config": {"url": "https://example.com", "auth": {}}}, "config.auth"),
        ({"config": {"url": "https://example.com", "auth": {"bearer": "***"}}}, "config.auth.bearer"),
        ({"config": {"url": "https://example.com", "tls": {"ca": "nonsense"}}}, "config.tls"),
        ({"config": {"url": "https://example.com", "payload": "shopify"}}, "config.payload"),
    ],
)
async def test_a_refusal_names_the_field(node: Node, change: dict[str, Any], path: str) -> None:
    body = {"kind": "webhook", "name": "x", "events": ["*"], "config": {"url": "https://example.com"}}
    refused = await node.call("POST", "/v1/destinations", body | change)
    assert refused.status == 422, refused.raw
    assert refused.paths == [path], refused.raw
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await node.call("GET", "/v1/destinations")).json["data"] == []


async def test_pausing_and_resuming(node: Node) -> None:
    made = await node.destination()
    path = f"/v1/destinations/{made['id']}/activation"
    assert (await node.call("DELETE", path)).json["state"] == "paused"
    assert (await node.call("POST", path)).json["state"] == "active"
    node.inner.reactions.disable(made["id"], "gone")

    async def disabled() -> Any:
        answer = await node.call("GET", f"/v1/destinations/{made['id']}")
        return answer.json if answer.json["state"] == "disabled" else None

    shown = await until(disabled)
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "gone")
    shown = (await node.call("POST", path)).json
    assert (shown["state"], shown["disabled_reason"]) == ("active", None)


async def test_a_rotation_keeps_both_secrets_alive_for_the_grace(node: Node) -> None:
    made = await node.destination()
    path = f"/v1/destinations/{made['id']}"
    first = (await node.call("GET", f"{path}/secret")).json["secret"]
    rotated = await node.call("POST", f"{path}/secret-rotations")
    assert rotated.status == 201
    assert rotated.json["secrets"] == [rotated.json["secret"], first]
    given = "whsec_" + "A" * 32
    rotated = await node.call("POST", f"{path}/secret-rotations", {"grace_s": 0, "secret": given})
    assert rotated.json == {"secret": given, "secrets": [given]}
    refused = await node.call("POST", f"{path}/secret-rotations", {"secret": "whsk_AAAA"})
    assert (refused.status, refused.paths) == (422, ["secret"])
    entries = (await node.call("GET", "/v1/audit")).json["data"]
    acts = [entry["action"] for entry in entries]
    assert acts == ["destination.rotate", "destination.rotate", "destination.secret", "destination.create"]
    assert given not in str(entries)


async def test_another_signing_scheme_is_a_rotation(node: Node) -> None:
    made = await node.destination()
    path = f"/v1/destinations/{made['id']}"
    await node.call("PATCH", path, {"config": {"signing": "v1a"}})
    secrets = (await node.call("GET", f"{path}/secret")).json["secrets"]
    assert [secret.split("_")[0] for secret in secrets] == ["whpk", "whsec"]


async def test_a_test_is_one_signed_request_at_once(node: Node) -> None:
    async with serving(answering(OK)) as server:
        made = await node.destination(server.url)
        await node.call("DELETE", f"/v1/destinations/{made['id']}/activation")
        attempt = (await node.call("POST", f"/v1/destinations/{made['id']}/tests", {"type": "order.paid"})).json
        assert (attempt["outcome"], attempt["status_code"], attempt["response_body"]) == ("delivered", 200, "ok")
        assert attempt["response_headers"] == {"content-length": "2"}
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
    secret = (await node.call("GET", f"/v1/destinations/{made['id']}/secret")).json["secret"]
    assert verify(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body, headers["webhook-signature"])


async def test_deleting_cancels_what_waits(node: Node) -> None:
    made = await node.paused()
    event = await node.publish("order.created", {})
    assert (await node.call("DELETE", f"/v1/destinations/{made['id']}")).status == 204
    assert (await node.call("GET", f"/v1/destinations/{made['id']}")).status == 404

    async def cancelled() -> bool:
        shown = (await node.call("GET", f"/v1/events/{event}")).json
        return [d["status"] for d in shown["deliveries"]] == ["cancelled"]

    await until(cancelled)
    delivery = (await node.call("GET", "/v1/deliveries")).json["data"][0]
    assert delivery["reason"] == "destination_deleted"
    assert (await node.call("POST", f"/v1/deliveries/{delivery['id']}/retries")).status == 409


async def test_what_a_crash_left_of_a_deleted_lane_is_swept_at_start(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        made = await node.paused()
        await node.publish("order.created", {})
        await node.inner.store.delete_config("destination", "default", made["id"], None)
    async with running_node(tmp_path) as node:
        await node.services.background.idle()
        assert (await node.call("GET", "/v1/deliveries")).json["data"][0]["status"] == "cancelled"


async def test_changes_at_once_lose_none(node: Node) -> None:
    made = await node.destination()
    path = f"/v1/destinations/{made['id']}"
    answers = await asyncio.gather(
        *(node.call("PATCH", path, {"config": {"headers": {"x-n": str(n)}}, "concurrency": n + 1}) for n in range(10)),
        *(node.call("PATCH", path, {"retry": {"schedule_s": [n]}}) for n in range(10)),
    )
    assert {answer.status for answer in answers} == {200}
    row = next(row for row in await node.inner.store.load_config() if row.id == made["id"])
    assert row.version == 21


async def test_statistics_add_up(node: Node) -> None:
    async with serving(answering(OK)) as server:
        made = await node.destination(server.url)
        for n in range(5):
            await node.publish("order.created", {"n": n})

        async def five() -> Any:
            stats = (await node.call("GET", f"/v1/destinations/{made['id']}/stats")).json
            return stats if stats["attempts"] == 5 and not stats["waiting"] else None

        stats = await until(five)
    assert stats["outcomes"] == {"delivered": 5}
    assert stats["success_rate"] == 1
    assert stats["latency_ms"]["p50"] <= stats["latency_ms"]["p99"]
    assert sum(point["delivered"] for point in stats["series"]) == 5


async def test_a_bulk_replay_is_a_stored_job(node: Node) -> None:
    async with serving(answering(OK)) as server:
        made = await node.destination(server.url)
        await node.publish("order.created", {})

        async def delivered() -> bool:
            return bool((await node.call("GET", "/v1/deliveries?status=delivered")).json["data"])

        await until(delivered)
    path = f"/v1/destinations/{made['id']}/replays"
    job = await node.call("POST", path, {"since": "2020-01-01T00:00:00Z", "status": "delivered"})
    assert (job.status, job.json["count"]) == (202, 1)
    assert (await node.call("POST", path, {"since": "2020-01-01T00:00:00Z"})).json["count"] == 0
    refused = await node.call("POST", path, {"since": "2020-01-01T00:00:00Z", "until": "2019-01-01T00:00:00Z"})
    assert (refused.status, refused.paths) == (422, ["until"])
    assert (await node.call("POST", path, {"since": "yesterday"})).paths == ["since"]


def _bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("*.db*"))
