"""The commands against a real node, a process of its own: what a person types on the first day.

The first test runs each command as a process too; the others run them here, which is faster.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.scripted import Scripted, scripted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("orderwire.wiring") is None, reason="the node is not put together yet"),
]


@pytest.fixture
def node(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """A node's address; its data folder is where `run` looks for the key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "orderwire", "serve", "--port", str(port)]
    variables = environment | {"ORDERWIRE_ALLOW_NETWORKS": "127.0.0.0/8", "ORDERWIRE_ALLOW_HTTP": "true"}
    with (tmp_path / "node.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: process.poll() is not None or ready(url), "the node is not ready")
        assert process.poll() is None, (tmp_path / "node.log").read_text()
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, (tmp_path / "node.log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def receiver() -> Iterator[Scripted]:
    with scripted(lambda asked: (200, {})) as server:
        yield server


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(true: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


class Person:
    """Types commands; each must end as it should."""

    def __init__(self, run: Run, url: str) -> None:
        self._run, self._url = run, url

    def __call__(self, *words: str, code: int = 0, **more: str) -> str:
        done = self._run(*words, ORDERWIRE_URL=self._url, **more)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *words: str, code: int = 0, **more: str) -> Any:
        return json.loads(self(*words, "--json", code=code, **more))


@pytest.fixture
def type_(run: Run, node: str) -> Person:
    return Person(run, node)


def test_from_nothing_to_a_verified_webhook(spawn: Run, node: str, receiver: Scripted, tmp_path: Path) -> None:
    type_ = Person(spawn, node)
    dst = type_.json("destinations", "create", f"{receiver.url}/hook", "--events", "order.*", "--name", "shop")["id"]
    assert dst in type_("destinations", "list")
    sent = type_.json("send", "order.created", "--data", '{"total":10.10}', "--subject", "order/1", "--id", "o-1")
    assert (sent["id"], sent["duplicate"], sent["deliveries"]) == ("o-1", False, 1)
    assert "known already" in type_(
        "send", "order.created", "--data", '{"total":10.10}', "--subject", "order/1", "--id", "o-1"
    )
    wait_for(lambda: receiver.asked, "the webhook did not come")
    hook = receiver.asked[0]
    (tmp_path / "body").write_bytes(hook.body)
    (tmp_path / "headers").write_text(json.dumps(hook.headers))
    secret = type_("destinations", "secret", dst).strip()
    assert "right" in type_("verify", "standard", "--secret", secret, "--body", "body", "--headers", "headers")
    assert b'"total":10.10' in hook.body

    def delivered() -> list[Any]:
        return list(type_.json("deliveries", "list", "--status", "delivered", "--destination", dst)["data"])

    wait_for(delivered, "no delivery is delivered")
    (delivery,) = delivered()
    attempts = type_.json("deliveries", "attempts", delivery["id"])["data"]
    assert [(one["number"], one["outcome"], one["status_code"]) for one in attempts] == [(1, "delivered", 200)]
    assert "order.created" in type_("events", "list", "--type", "order.*", "--since", "1h")
    assert type_.json("events", "show", "o-1")["deliveries"][0]["status"] == "delivered"
    assert "1 delivery" in type_("events", "replay", "o-1", "--destination", dst)
    wait_for(lambda: len(receiver.asked) == 2, "the replay did not come")
    assert receiver.asked[1].headers["webhook-id"] == "o-1"
    assert type_.json("destinations", "test", dst)["outcome"] == "delivered"
    assert type_.json("destinations", "stats", dst)["outcomes"]["delivered"] >= 1
    assert "active" in type_("destinations", "show", dst)


def test_what_fails_is_seen_retried_cancelled_and_replayed(type_: Person, receiver: Scripted) -> None:
    receiver.answer = lambda asked: (500, {"no": 1})
    dst = type_.json("destinations", "create", receiver.url, "--schedule", "0,3600")["id"]
    type_("send", "order.created")

    def retrying() -> list[Any]:
        return list(type_.json("deliveries", "list", "--status", "retrying")["data"])

    wait_for(retrying, "no delivery is retrying")
    dlv = retrying()[0]["id"]
    assert "tried now" in type_("deliveries", "retry", dlv)
    wait_for(lambda: len(receiver.asked) == 2, "the retry did not come")
    wait_for(lambda: len(type_.json("deliveries", "attempts", dlv)["data"]) == 2, "the retry is not kept")
    assert "cancelled" in type_("deliveries", "cancel", dlv)
    assert type_("destinations", "test", dst, code=1)
    receiver.answer = lambda asked: (200, {})
    assert "1 event being sent again" in type_("replay", dst, "--since", "1h", "--status", "cancelled")
    wait_for(lambda: len(receiver.asked) >= 4, "the replay did not come")
    type_("destinations", "pause", dst)
    assert "paused" in type_("doctor")
    type_("destinations", "resume", dst)
    assert "well" in type_("doctor") or "attempts succeeded" in type_("doctor")
    type_("destinations", "update", dst, "--concurrency", "3", "--timeout-s", "5")
    assert type_.json("destinations", "show", dst)["concurrency"] == 3
    type_("destinations", "rotate-secret", dst)
    assert len(type_.json("destinations", "secret", dst)["secrets"]) == 2
    type_("destinations", "delete", dst)
    assert "Not found" in type_("destinations", "show", dst, code=1)


def test_a_file_of_events_pages_and_a_backup_beside_the_running_node(type_: Person, tmp_path: Path) -> None:
    lines = [json.dumps({"type": "order.created", "data": {"n": n}, "id": f"n-{n}"}) for n in range(600)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines))
    sums = type_.json("send", "--file", "events.ndjson", "--batch", "250")
    assert sums == {"events": 600, "duplicates": 0, "deliveries": 0}
    assert type_.json("send", "--file", "events.ndjson")["duplicates"] == 600
    page = type_.json("events", "list", "--limit", "300")
    assert len({row["id"] for row in page["data"]}) == 300
    rest = type_.json("events", "list", "--all", "--cursor", page["next_cursor"])
    assert len({row["id"] for row in page["data"] + rest["data"]}) == 600
    (tmp_path / "bad.ndjson").write_text(lines[0] + '\n\n{"type":"BAD TYPE","data":{}}\n')
    assert "line 3" in type_("send", "--file", "bad.ndjson", code=1)
    assert "integrity ok" in type_("backup", "copy.db")
    assert type_.json("types", "put", "order.created", "--schema", '{"type":"object"}', "--strict")["strict"] is True
    assert "order.created" in type_("types", "list")
    assert "422" in type_("send", "order.created", "--data", "[]", code=1)
    type_("types", "delete", "order.created")


def test_tenants_keys_and_sources(type_: Person, tmp_path: Path) -> None:
    type_("tenants", "create", "acme", "--name", "Acme")
    assert "acme" in type_("tenants", "list")
    made = type_.json("keys", "create", "publisher", "--tenant", "acme", "--name", "shop")
    assert type_("send", "order.created", "--key", made["key"])
    assert "403" in type_("events", "list", "--key", made["key"], code=1)
    assert len(type_.json("events", "list", "--tenant", "acme")["data"]) == 1
    assert "publisher" in type_("keys", "list", "--tenant", "acme")
    type_("keys", "delete", made["id"], "--tenant", "acme")
    assert "401" in type_("send", "order.created", "--key", made["key"], code=1)
    assert {"shopify", "stripe", "standard"} <= {kind["kind"] for kind in type_.json("sources", "kinds")["data"]}
    (tmp_path / "secret").write_text("shpss_hush\n")
    src = type_.json("sources", "create", "shopify", "--secret", "@secret")
    assert src["ingest_path"] == f"/in/{src['id']}"
    assert src["id"] in type_("sources", "list")
    assert "hush" not in type_("sources", "show", src["id"])
    type_("sources", "delete", src["id"])
    assert type_("sources", "list") == "no sources\n"


def test_tail_shows_what_happens(type_: Person, node: str, tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "orderwire", "tail", "--json", "--url", node]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        time.sleep(1.5)  # until it watches; a stream tells nothing of what was before
        type_("send", "order.created", "--id", "seen")
        told = json.loads(process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
    assert (told["event"], told["data"]["id"]) == ("event", "seen")


def test_a_second_node_on_the_same_folder_is_refused(type_: Person, spawn: Run) -> None:
    said = Person(spawn, "")("serve", "--port", "0", code=1)
    assert "another orderwire process uses" in said
    assert "a node is running on this folder" in type_("doctor")
