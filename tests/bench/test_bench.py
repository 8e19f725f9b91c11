"""The benchmark is believed only as far as its sums can be seen to fail: most of these give it a faulty node."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from orderwire.bench import run
from orderwire.bench.generator import GeneratorOrders, Requests
from orderwire.bench.helper import Helper, HelperError
from orderwire.bench.node import NodeError
from orderwire.bench.options import BenchOptions
from orderwire.bench.payload import MARKER, MARKER_BYTES, event_template, marker_figures
from orderwire.bench.receiver import ReceiverOrders, Tally, Verifier, WebhookProtocol
from orderwire.bench.report import BenchResult
from orderwire.bench.sums import Published, Received, backlog, counted, percentile_ms, read_published

STUB = [sys.executable, str(Path(__file__).with_name("stub_node.py"))]
SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


async def bench(fault: str = "", **options: Any) -> BenchResult:
    return await run.run_bench(BenchOptions(**{"seconds": 0.4, **options}), [*STUB, "--fault", fault])


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUIET_S", 0.2)
    monkeypatch.setattr(run, "STALLED_S", 0.5)


# --- the bytes that are sent ---


@pytest.mark.parametrize("size", [500, 501, 700, 5000])
def test_an_event_is_json_of_the_size_asked_for(size: int) -> None:
    event = json.loads(event_template(size) % (7, 7, 123))
    assert event["type"] == "order.created"
    assert event["data"]["bench"] == {"seq": "0000000007", "sent_ns": "0000000000000000123"}
    assert len(msgspec.json.encode(event["data"])) == size


def test_the_smallest_event_still_carries_the_figures() -> None:
    body = event_template(0) % (7, 7, 123)
    start = body.find(MARKER)
    assert marker_figures(body[start : start + MARKER_BYTES]) == (7, 123)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_request_has_the_length_it_says(batch: int) -> None:
    orders = GeneratorOrders(8080, "100%key", 1.0, batch, 0.0, 1, 500, "")
    head, _, body = Requests(orders).make(41, 5).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"authorization: Bearer 100%key\r\n" in head
    events = [json.loads(body)] if batch == 1 else json.loads(body)["events"]
    assert [event["subject"] for event in events] == [f"order/{41 + n:010d}" for n in range(batch)]


# --- the receiver ---


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def receiver() -> tuple[Tally, WebhookProtocol, Transport]:
    tally, transport = Tally(1), Transport()
    tally.verifiers[0] = Verifier(SECRET)
    protocol = WebhookProtocol(tally, 0)
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return tally, protocol, transport


def webhook(seq: int = 1, secret: str = SECRET, *, capital: bool = False) -> bytes:
    body = event_template(500) % (seq, seq, 99)
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", now, body.decode())
    head = (
        f"POST / HTTP/1.1\r\nwebhook-id: evt_1\r\nwebhook-timestamp: {int(now.timestamp())}\r\n"
        f"webhook-signature: v1,b3RoZXI= {signature}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    return (head.replace(b"webhook-", b"Webhook-") if capital else head) + body


def test_a_webhook_signed_by_the_reference_library_is_valid() -> None:
    tally, protocol, transport = receiver()
    protocol.data_received(webhook())
    assert (tally.valid, tally.invalid) == (1, 0)
    assert transport.written == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_requests_may_come_in_pieces_and_back_to_back(size: int) -> None:
    tally, protocol, transport = receiver()
    stream = webhook(1) + webhook(2, capital=True) + webhook(3)
    for start in range(0, len(stream), size):
        protocol.data_received(stream[start : start + size])
    assert (tally.valid, tally.invalid) == (3, 0)
    assert transport.written.count(b"204") == 3
    assert [marker_figures(line.split(b" ", 3)[3])[0] for line in bytes(tally.log).splitlines()] == [1, 2, 3]


def test_another_secret_a_changed_body_and_a_missing_header_are_invalid() -> None:
    tally, protocol, _ = receiver()
    protocol.data_received(webhook(secret="whsec_" + b64encode(b"x" * 32).decode()))
    protocol.data_received(webhook().replace(b"Lovelace", b"Lovelacf"))
    protocol.data_received(webhook().replace(b"webhook-id:", b"webhook-ix:"))
    assert (tally.valid, tally.invalid) == (0, 3)


def test_a_request_without_a_length_is_refused() -> None:
    tally, protocol, transport = receiver()
    protocol.data_received(webhook().replace(b"content-length", b"transfer-length"))
    assert (tally.invalid, transport.closed) == (1, True)


# --- the sums ---


def test_only_what_was_accepted_received_everywhere_and_stored_counts() -> None:
    published = Published(accepted={1: "a", 2: "b", 3: "c"})
    received = Received(first_at={(0, 1): 5, (1, 1): 5, (0, 2): 6, (1, 2): 6, (0, 3): 7})
    stored = {"a": (2, 2), "b": (1, 3), "c": (2, 2)}
    assert counted(published, received, stored, destinations=2) == (1, 1, 1)


def test_an_unanswered_request_is_not_accepted() -> None:
    log = b'12\n1 10 11 20 202 {"id":"a"}\n2 12 12 30 503 {}\n3 13 13 40 0 '
    published = read_published(log, batch=1)
    assert (published.planned, published.sent, published.accepted) == (12, 3, {1: "a"})
    assert published.refused == {"503": 1, "0": 1}
    assert (published.first_ns, published.last_ns, published.late_ns) == (10, 20, [1, 0, 0])


def test_the_backlog_is_what_is_accepted_and_not_yet_received() -> None:
    published = Published(first_ns=0, last_ns=100, accepted_at=[(n * 10, 1) for n in range(1, 11)])
    received = Received(first_at={(0, n): n * 20 for n in range(1, 11)})
    assert backlog(published, received, 1, (0.5, 1.0)) == [3, 5]


def test_percentiles() -> None:
    values = [n * 1_000_000 for n in range(100)]
    assert [percentile_ms(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 99]
    assert percentile_ms([], 0.5) == 0


# --- whole runs, against a stand-in for the node ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"batch": 20}, {"destinations": 2}, {"rate": 500}, {"rate": 2000, "batch": 50}]
)
async def test_a_sound_node_adds_up(options: dict[str, Any]) -> None:
    result = await bench(**options)
    assert result.broken == []
    assert result.counts.sent == result.counts.accepted == result.counts.counted > 0
    assert (result.counts.duplicates, result.counts.unknown, result.counts.refused) == (0, 0, {})
    assert result.costs.node_us > 0
    assert result.costs.node_memory_mb > 10
    assert 0 < result.costs.first_delivery_s < 15
    assert 0 < result.latency_ms.p50 <= result.latency_ms.p99 <= result.latency_ms.max
    if "rate" in options:
        assert result.counts.sent == pytest.approx(options["rate"] * 0.4, abs=options.get("batch", 1))


@pytest.mark.slow
async def test_lost_deliveries_break_the_sums() -> None:
    result = await bench("lose", rate=500)
    assert result.counts.lost == pytest.approx(result.counts.accepted / 10, abs=1)
    assert result.broken == [f"{result.counts.lost} accepted events were not received"]


@pytest.mark.slow
async def test_forged_signatures_break_the_sums() -> None:
    result = await bench("forge", rate=500)
    assert result.counts.invalid == result.counts.lost > 0
    assert f"{result.counts.invalid} webhooks had no valid signature" in result.broken


@pytest.mark.slow
async def test_attempts_missing_in_the_store_break_the_sums() -> None:
    result = await bench("unstored", rate=500)
    assert result.counts.lost == 0
    assert result.counts.unstored > 0
    assert len(result.broken) == 1


@pytest.mark.slow
async def test_duplicates_are_counted_and_allowed() -> None:
    result = await bench("double", rate=500)
    assert result.counts.duplicates == pytest.approx(result.counts.accepted / 10, abs=1)
    assert result.broken == []


@pytest.mark.slow
async def test_refused_events_are_counted_and_allowed() -> None:
    result = await bench("refuse", rate=500)
    assert result.counts.refused["503"] + result.counts.accepted == result.counts.sent
    assert result.broken == []


async def test_a_node_that_does_not_start_is_told_with_its_log() -> None:
    with pytest.raises(NodeError, match="no such port today"):
        await run.run_bench(BenchOptions(), [sys.executable, "-c", "raise SystemExit('no such port today')"])


async def test_a_helper_that_dies_is_told() -> None:
    helper = await Helper.start("receiver", ReceiverOrders(1, "/nowhere/at/all"))
    await helper.until(lambda status: status.phase == "ready", 10)
    await helper.kill()
    with pytest.raises(HelperError, match="ended early"):
        await helper.until(lambda status: status.phase == "done", 10)


# --- the command ---


@pytest.mark.slow
def test_the_json_line_comes_last_and_the_data_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "serve_program", lambda: STUB)
    folder = tmp_path / "kept"
    assert run.main(BenchOptions(seconds=0.3, rate=200, keep_data=folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("events/s, end to end" in line for line in lines)
    result = msgspec.json.decode(lines[-1], type=BenchResult)
    assert result.counts.counted == 60
    assert {path.name for path in folder.iterdir()} == {"data", "node.log", "published.log", "received.log"}


@pytest.mark.slow
def test_broken_sums_are_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "serve_program", lambda: [*STUB, "--fault", "unstored"])
    assert run.main(BenchOptions(seconds=0.3, rate=200, json_only=True)) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["broken"] != []


def test_data_is_kept_in_an_empty_folder_only(tmp_path: Path) -> None:
    BenchOptions(keep_data=tmp_path)
    (tmp_path / "orderwire.db").touch()
    for taken in (tmp_path, tmp_path / "orderwire.db"):
        with pytest.raises(ValueError, match="not an empty folder"):
            BenchOptions(keep_data=taken)


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"batch": 1001}, {"destinations": 0}, {"rate": -1}])
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))}"):
        BenchOptions(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(sent: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import signal, sys; from orderwire.bench import options, run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job is started without
        f"run.serve_program = lambda: {STUB!r}\n"
        "sys.exit(run.main(options.BenchOptions(seconds=30, rate=100)))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    bench = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, env=environment)
    while not (commands := processes_naming(str(tmp_path))):
        time.sleep(0.02)
    time.sleep(0.5)
    bench.send_signal(sent)
    _, complaint = bench.communicate(timeout=20)
    assert (bench.returncode, complaint) == (130, b"orderwire bench: stopped before it was done\n")
    assert commands
    assert processes_naming(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def processes_naming(text: str) -> list[str]:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_text())
    return [command for command in commands if text in command]
