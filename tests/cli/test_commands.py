"""The commands against a scripted node: what they ask, what they print, how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.scripted import Answer, Asked, scripted

PROBLEM = {"type": "x", "title": "Invalid request", "status": 422, "detail": "two fields are at fault"}


def test_help_answers_at_once_and_names_every_command(spawn: Run) -> None:
    begun = time.monotonic()
    done = spawn("--help")
    took_s = time.monotonic() - begun
    assert done.returncode == 0
    for command in ("serve", "demo", "bench", "migrate", "send", "tail", "events", "deliveries", "replay", "verify"):
        assert f" {command} " in done.stdout
    assert took_s < 5, "a heavy module is imported at the top"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, orderwire.cli; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    heavy = {"pydantic", "fastapi", "cryptography", "starlette", "uvicorn", "http"}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{heavy}", repr(heavy))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["serve"], ["bench"], ["send"], ["destinations", "create"], ["verify"], ["backup"]])
def test_every_command_has_help(run: Run, words: list[str]) -> None:
    done = run(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: orderwire {' '.join(words)}")


def test_serve_shows_every_setting_with_its_default(run: Run) -> None:
    shown = run("serve", "--help", COLUMNS="200").stdout
    for part in ("--retention-days", "ORDERWIRE_RETENTION_DAYS", "default: 30", "--behind-proxy", "--config"):
        assert part in shown


def test_serve_refuses_wrong_settings_before_anything_else(run: Run) -> None:
    done = run("serve", "--port", "x", "--retention-days", "1")
    assert done.returncode == 2
    assert "ORDERWIRE_PORT (--port)" in done.stderr
    assert "ORDERWIRE_RETENTION_DAYS" in done.stderr


def test_an_unknown_command_is_wrong_usage(run: Run) -> None:
    done = run("evnts")
    assert done.returncode == 2
    assert 'Did you mean "events"' in done.stderr


def test_nobody_there_is_said_so(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = run("events", "list", "--url", url)
    assert done.returncode == 3
    assert done.stderr == f"error: no node answers at {url}; start one with: orderwire serve\n"


def test_an_address_that_is_none_is_wrong_usage(run: Run) -> None:
    done = run("events", "list", ORDERWIRE_URL="localhost:8080")
    assert done.returncode == 2
    assert "http://127.0.0.1:8080" in done.stderr


def test_a_problem_is_printed_as_sentences(run: Run) -> None:
    fields = [{"path": "type", "message": "must not be empty"}, {"path": "data.x", "message": "is no number"}]
    with scripted(lambda asked: (422, PROBLEM | {"errors": fields})) as node:
        done = run("send", "x", "--url", node.url)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: Invalid request (422): two fields are at fault",
        "  type: must not be empty",
        "  data.x: is no number",
    ]


def test_a_missing_key_and_a_busy_node_say_what_to_do(run: Run) -> None:
    with scripted(lambda asked: (401, {"title": "Unauthorized", "detail": "no key"})) as node:
        assert "no key was found: give one with --key" in run("events", "list", "--url", node.url).stderr
        assert "the key is not valid" in run("events", "list", "--url", node.url, "--key", "k").stderr
        node.answer = lambda asked: (429, {"title": "Too many requests", "detail": "slow"}, {"retry-after": "7"})
        assert "try again in 7 s" in run("events", "list", "--url", node.url).stderr
        node.answer = lambda asked: (404, b"<html>nginx</html>")
        assert "not as an Orderwire node does" in run("events", "list", "--url", node.url).stderr


def test_the_key_comes_from_the_flag_the_variables_or_the_data_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "orderwire-data").mkdir()
    (tmp_path / "orderwire-data" / "admin.key").write_text("of-file\n")
    with scripted(lambda asked: (200, {"data": [], "next_cursor": None})) as node:
        words = ("tenants", "list", "--url", node.url)
        run(*words, "--key", "of-flag", ORDERWIRE_KEY="of-key")
        run(*words, ORDERWIRE_KEY="of-key", ORDERWIRE_ADMIN_KEY="of-admin")
        run(*words, ORDERWIRE_KEY="", ORDERWIRE_ADMIN_KEY="of-admin")
        run(*words, "--tenant", "acme")
    keys = [asked.headers["authorization"] for asked in node.asked]
    assert keys == ["Bearer of-flag", "Bearer of-key", "Bearer of-admin", "Bearer of-file"]
    assert node.asked[-1].headers["orderwire-tenant"] == "acme"


def test_a_list_goes_on_over_short_pages(run: Run) -> None:
    pages = {"": (["a"], "c1"), "c1": ([], "c2"), "c2": (["b", "c"], "c3"), "c3": (["d"], None)}

    def answer(asked: Asked) -> Answer:
        names, cursor = pages[asked.path.partition("cursor=")[2]]
        return 200, {"data": [{"id": name, "amount": 1} for name in names], "next_cursor": cursor}

    with scripted(answer) as node:
        first = json.loads(run("events", "list", "--limit", "3", "--json", "--url", node.url).stdout)
        rest = json.loads(run("events", "list", "--cursor", "c3", "--json", "--url", node.url).stdout)
        table = run("events", "list", "--all", "--url", node.url).stdout
    assert [row["id"] for row in first["data"]] == ["a", "b", "c"]
    assert first["next_cursor"] == "c3"
    assert ([row["id"] for row in rest["data"]], rest["next_cursor"]) == (["d"], None)
    assert [line.split()[1] for line in table.splitlines()] == ["id", "a", "b", "c", "d"]


def test_an_empty_list_says_so_and_filters_are_passed_on(run: Run) -> None:
    with scripted(lambda asked: (200, {"data": [], "next_cursor": None})) as node:
        done = run("events", "list", "--type", "order.*", "--since", "2026-11-23", "--q", "a b", "--url", node.url)
        bad = run("events", "list", "--since", "yesterday", "--url", node.url)
    assert done.stdout == "no events\n"
    assert node.asked[0].path == "/v1/events?type=order.%2A&q=a%20b&since=2026-11-23T00%3A00%3A00.000000Z&limit=50"
    assert bad.returncode == 2
    assert "90m" in bad.stderr


def test_digits_are_never_re_encoded(run: Run) -> None:
    text = b'{"id":"evt_1","data":{"total":10.10,"n":123456789012345678901}}'
    with scripted(lambda asked: (200, text)) as node:
        assert run("events", "show", "evt_1", "--json", "--url", node.url).stdout.encode() == text + b"\n"
        shown = run("events", "show", "evt_1", "--url", node.url).stdout
    assert '"total":10.10' in shown
    assert "123456789012345678901" in shown


def test_what_is_published_keeps_its_digits_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{"total":10.10}')
    accepted = {"id": "evt_1", "duplicate": False, "deliveries": 2}
    with scripted(lambda asked: (202, accepted)) as node:
        done = run("send", "order.created", "--data", "@body.json", "--id", "o-1", "--url", node.url)
        run("send", "order.created", "--data", "-", "--url", node.url, input='{"n":1e400}')
        bad = run("send", "order.created", "--data", "{", "--url", node.url)
    assert done.stdout == "evt_1 accepted, 2 deliveries\n"
    assert node.asked[0].body == b'{"type":"order.created","data":{"total":10.10},"id":"o-1"}'
    assert node.asked[1].body == b'{"type":"order.created","data":{"n":1e400}}'
    assert bad.returncode == 2
    assert "--data is not JSON" in bad.stderr


def batch(asked: Asked) -> Answer:
    events = json.loads(asked.body)["events"]
    if any(event["type"] == "BAD" for event in events):
        at = next(i for i, event in enumerate(events) if event["type"] == "BAD")
        fault = {"path": f"events[{at}].type", "message": "is no type"}
        return 422, PROBLEM | {"detail": f"events[{at}].type: is no type", "errors": [fault]}
    return 202, {"data": [{"id": "x", "duplicate": i == 0, "deliveries": 3} for i, _ in enumerate(events)]}


def test_a_file_is_sent_in_batches_and_adds_up(run: Run, tmp_path: Path) -> None:
    lines = [json.dumps({"type": "order.created", "data": {"n": n}}) for n in range(25)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines) + "\n\n")
    with scripted(batch) as node:
        done = run("send", "--file", "events.ndjson", "--batch", "10", "--json", "--url", node.url)
    assert json.loads(done.stdout) == {"events": 25, "duplicates": 3, "deliveries": 75}
    assert [len(json.loads(asked.body)["events"]) for asked in node.asked] == [10, 10, 5]


def test_a_bad_line_is_named_with_how_to_go_on(run: Run) -> None:
    lines = ['{"type":"ok","data":{}}', "", '{"type":"ok","data":{}}', '{"type":"BAD","data":{}}']
    with scripted(batch) as node:
        refused = run("send", "--file", "-", "--batch", "2", "--url", node.url, input="\n".join(lines))
        broken = run("send", "--file", "-", "--batch", "9", "--url", node.url, input=lines[0] + "\nnonsense\n")
    assert refused.returncode == broken.returncode == 1
    assert "line 4.type: is no type" in refused.stderr
    assert "2 events were accepted, all before line 4" in refused.stderr
    assert "line 2 is not JSON" in broken.stderr
    assert "0 events were accepted, all before line 1" in broken.stderr


def test_a_destination_is_made_from_flags(run: Run) -> None:
    with scripted(lambda asked: (201, {"id": "dst_1"})) as node:
        done = run(
            *("destinations", "create", "https://shop.example.com/hook", "--events", "order.*,refund.created"),
            *("--header", "X-A=1", "--schedule", "0,5", "--per-second", "2", "--signing", "v1a"),
            *("--body", '{"filter":{"a":1.0},"config":{"auth":{"k":"v"}}}', "--url", node.url),
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(node.asked[0].body) == {
        "kind": "webhook",
        "name": "shop.example.com",
        "events": ["order.*", "refund.created"],
        "filter": {"a": 1.0},
        "config": {
            "auth": {"k": "v"},
            "url": "https://shop.example.com/hook",
            "signing": "v1a",
            "headers": {"X-A": "1"},
        },
        "rate_limit": {"per_second": 2.0},
        "retry": {"schedule_s": [0.0, 5.0]},
    }


def test_half_a_destination_is_wrong_usage(run: Run) -> None:
    nowhere = run("destinations", "create")
    assert nowhere.returncode == 2
    assert "orderwire destinations create https://" in nowhere.stderr
    burst = run("destinations", "update", "dst_1", "--burst", "3")
    assert burst.returncode == 2
    assert "--burst goes with --per-second" in burst.stderr


def test_what_sends_nothing_says_so(run: Run) -> None:
    with scripted(lambda asked: (202, {"id": "x", "count": 0})) as node:
        assert "nothing is sent" in run("events", "replay", "e1", "--url", node.url).stdout
        assert "no event of that span is failed" in run("replay", "dst_1", "--since", "1d", "--url", node.url).stdout
        node.answer = lambda asked: (202, {"id": "x", "count": 1})
        assert run("events", "replay", "e1", "--url", node.url).stdout == "e1 is being delivered again: 1 delivery\n"


def test_a_rotated_secret_stands_beside_the_old_one(run: Run) -> None:
    with scripted(lambda asked: (200, {"id": "src_1", "secrets": ["***", "***"]})) as node:
        run("sources", "update", "src_1", "--add-secret", "new", "--set", "currency=GBP", "--url", node.url)
        run("sources", "update", "src_1", "--secret", "only", "--name", "n", "--url", node.url)
    read, added, replaced = node.asked
    assert (read.method, added.method, replaced.path) == ("GET", "PATCH", "/v1/sources/src_1")
    assert json.loads(added.body) == {"secrets": ["new", "***", "***"], "config": {"currency": "GBP"}}
    assert json.loads(replaced.body) == {"name": "n", "secrets": ["only"]}


def test_a_provider_is_given_the_public_address(run: Run) -> None:
    with scripted(lambda asked: (201, {"id": "src_1", "ingest_path": "/in/src_1"})) as node:
        words = ("sources", "create", "shopify", "--secret", "s", "--url", node.url)
        assert f" {node.url}/in/src_1\n" in run(*words).stdout
        public = run(*words, ORDERWIRE_PUBLIC_URL="https://hooks.example.com/")
    assert public.stdout.endswith(" https://hooks.example.com/in/src_1\n")


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        ("destinations pause dst_1", "DELETE", "/v1/destinations/dst_1/activation", None),
        ("destinations resume dst_1", "POST", "/v1/destinations/dst_1/activation", None),
        ("destinations delete dst_1 --yes", "DELETE", "/v1/destinations/dst_1", None),
        (
            "destinations rotate-secret dst_1 --grace-s 60",
            "POST",
            "/v1/destinations/dst_1/secret-rotations",
            {"grace_s": 60},
        ),
        ("destinations update dst_1 --concurrency 3", "PATCH", "/v1/destinations/dst_1", {"concurrency": 3}),
        ("deliveries retry dlv_1", "POST", "/v1/deliveries/dlv_1/retries", None),
        ("deliveries cancel dlv_1", "POST", "/v1/deliveries/dlv_1/cancellation", None),
        ("events replay e/1 --destination dst_1", "POST", "/v1/events/e%2F1/replays", {"destination": "dst_1"}),
        ("keys create publisher --tenant acme", "POST", "/v1/keys", {"tenant": "acme", "role": "publisher"}),
        ("keys delete key_1", "DELETE", "/v1/keys/key_1", None),
        ("tenants create acme", "POST", "/v1/tenants", {"id": "acme", "name": "acme"}),
        ("types put a.b --strict --schema {}", "PUT", "/v1/event-types/a.b", {"strict": True, "schema": {}}),
        ("types delete a.b", "DELETE", "/v1/event-types/a.b", None),
        (
            "replay dst_1 --since 2026-11-23T00:00:00Z --types order.* --types a.b",
            "POST",
            "/v1/destinations/dst_1/replays",
            {"since": "2026-11-23T00:00:00.000000Z", "types": ["order.*", "a.b"]},
        ),
        (
            "sources create shopify --secret s1 --secret s2 --set shop_domain=a.myshopify.com",
            "POST",
            "/v1/sources",
            {
                "kind": "shopify",
                "name": "shopify",
                "secrets": ["s1", "s2"],
                "config": {"shop_domain": "a.myshopify.com"},
            },
        ),
    ],
)
def test_each_act_asks_for_what_it_says(
    run: Run, words: str, method: str, path: str, body: dict[str, object] | None
) -> None:
    answer = {"id": "x_1", "key": "k", "ingest_path": "/in/x_1", "count": 2, "status": "cancelled"}
    with scripted(lambda asked: (200, answer)) as node:
        done = run(*words.split(), "--url", node.url)
    assert done.returncode == 0, done.stderr
    (asked,) = node.asked
    assert (asked.method, asked.path) == (method, path)
    assert (json.loads(asked.body) if asked.body else None) == body


def test_a_closed_pipe_is_no_error(environment: dict[str, str]) -> None:
    rows = {"data": [{"id": f"evt_{n}", "type": "x" * 200} for n in range(5_000)], "next_cursor": None}
    with scripted(lambda asked: (200, rows)) as node:
        command = f"{sys.executable} -m orderwire events list --url {node.url} | head -n 1"
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "received" in done.stdout


def live(asked: Asked) -> Answer:
    if asked.path.startswith("/v1/live"):
        number = sum(one.path.startswith("/v1/live") for one in node_asked)
        message = f'event: event\ndata: {{"id":"evt_{number}","type":"a"}}\n\n: still here\n\n'
        return 200, message.encode(), {"content-type": "text/event-stream"}
    return 404, {"title": "Not found"}


node_asked: list[Asked] = []


def test_tail_reads_the_stream_and_takes_it_up_again(environment: dict[str, str]) -> None:
    with scripted(live) as node:
        global node_asked  # noqa: PLW0603
        node_asked = node.asked
        assert read_tail(node.url, environment, 2) == [
            {"event": "event", "data": {"id": "evt_1", "type": "a"}},
            {"event": "event", "data": {"id": "evt_2", "type": "a"}},
        ]
    assert [asked.path for asked in node.asked[:2]] == ["/v1/live", "/v1/live"]


def read_tail(url: str, environment: dict[str, str], count: int) -> list[dict[str, Any]]:
    """The first lines of `tail --json`; it must then end by Ctrl-C."""
    command = [sys.executable, "-m", "orderwire", "tail", "--json", "--url", url]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(count)]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
    return found
