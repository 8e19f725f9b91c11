"""The demo as a newcomer runs it; and its sums, which are believed only as far as they can be seen to fail."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from orderwire.clock import to_rfc3339
from orderwire.demo import run
from orderwire.demo.goods import BIG_ORDER_ID, FIRST_CUSTOMER, microseconds
from orderwire.demo.node import Node
from orderwire.demo.play import Answered
from orderwire.demo.receivers import Kept, Receiver, four, holds, wanted
from orderwire.demo.shop import day
from orderwire.demo.steps import Fate, Step, Trick
from orderwire.demo.sums import Account, Sums, add_up

COMMAND = [sys.executable, "-m", "orderwire", "demo", "--events", "40"]
SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo without a terminal; all it leaves behind would be in `tmp_path`."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ORDERWIRE_")}
    variables |= {"ORDERWIRE_PORT": "1"}  # of the caller's own node: not the demo's concern
    variables |= {"TMPDIR": str(tmp_path), "FORCE_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=variables,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # it ends its node, too


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=90)
    return output


def figures(output: str, *words: str) -> list[list[int]]:
    """The whole numbers of every line that holds one of `words` as a table's row does."""
    rows = [line for line in output.splitlines() if re.match(rf"\s*(\d+\s+)?({'|'.join(words)})(?!\S)", line)]
    return [[int(number) for number in re.findall(r"(?<!\S)\d+(?!\S)", row)] for row in rows]


@pytest.mark.slow
def test_a_day_without_a_terminal_ends_by_itself_and_adds_up(process: subprocess.Popen[str], tmp_path: Path) -> None:
    output = finish(process)
    assert process.returncode == 0, output
    sent, duplicates, accepted = (figures(output, word)[0][0] for word in ("sent", "duplicates", "accepted"))
    refused = [row[0] for row in figures(output, "refused")]
    assert len(refused) == 4, "forged, altered, stale and nonsense"
    assert sent == accepted + duplicates + sum(refused)
    rows = figures(output, "inventory", "email", "analytics", "payments")
    assert len(rows) == 4
    for expected, delivered, attempts, _retried, _repeats, badly_signed, lost in rows:
        assert expected == delivered > 0
        assert attempts >= delivered
        assert badly_signed == lost == 0
    inventory, email, analytics, _ = rows
    assert inventory[2:5] == [inventory[1], 0, 0]
    assert email[2] > email[1], "the flaky one is retried"
    assert analytics[0] == accepted
    assert "It adds up" in output
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", output), "no control characters"
    assert len(output.splitlines()) < 60
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_nothing_behind(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    pid = node_pid(process)
    process.send_signal(number)
    output = finish(process)
    assert process.returncode == 128 + number, output
    assert not Path(f"/proc/{pid}").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_node_that_dies_is_told_with_its_log(process: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(node_pid(process), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 1, output
    assert "The demo failed: the node does not answer" in output
    assert "Traceback" not in output
    (log,) = tmp_path.iterdir()
    assert f"The whole log is in {log}" in output
    assert "listening" in log.read_text()


def node_pid(process: subprocess.Popen[str]) -> int:
    """The node's process, once it is up."""
    assert process.stdout
    line = process.stdout.readline()
    assert "Up after" in line, line + process.stdout.read()
    time.sleep(0.3)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (pid,) = map(int, children)
    return pid


# --- the day ---


def test_a_day_is_the_same_for_the_same_seed() -> None:
    assert day(300) == day(300)
    assert day(300) != day(300, seed=8)


def test_a_day_scales_and_always_has_every_trick() -> None:
    for events in (0, 40, 300, 2000):
        steps = day(events)
        accepted = [step for step in steps if step.trick.fate is Fate.ACCEPTED]
        assert events <= len(accepted) < max(events, 60) * 1.1
        assert {step.trick for step in steps} == set(Trick)
        assert len({(step.topic, step.body) for step in accepted}) == len(accepted)


def test_a_pair_is_sent_at_the_same_moment_as_its_twin() -> None:
    steps = day(300)
    pairs = [(before, step) for before, step in pairwise(steps) if step.trick is Trick.TWIN]
    assert pairs
    assert all(before.body == step.body for before, step in pairs)


# --- the receivers ---


def signed(body: bytes, at: datetime) -> dict[str, str]:
    signature = Webhook(SECRET).sign("evt_1", at, body.decode())
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1,bm90IHRoaXM= {signature}",
    }


def test_a_receiver_believes_what_the_reference_library_signs() -> None:
    now = datetime.now(UTC)
    headers = signed(b'{"a":1}', now)
    assert holds(SECRET, headers, b'{"a":1}', now.timestamp())
    assert not holds(SECRET, headers, b'{"a":2}', now.timestamp())
    assert not holds(SECRET, headers, b'{"a":1}', now.timestamp() + 301)
    assert not holds(SECRET, headers | {"webhook-id": "evt_2"}, b'{"a":1}', now.timestamp())
    assert not holds(SECRET, {}, b'{"a":1}', now.timestamp())


# --- the sums ---


class Evening:
    """A day as it is when all went well, to be spoilt."""

    def __init__(self) -> None:
        steps = day(0)
        self.answers = [Answered(step, status(step)) for step in steps]
        self.accepted = {
            f"evt_{number:03d}": step
            for number, step in enumerate(one for one in steps if one.trick.fate is Fate.ACCEPTED)
        }
        self.receivers = {one.name: one for one in four()}
        self.deliveries: dict[str, dict[str, tuple[str, int]]] = {}
        for name, receiver in self.receivers.items():
            wants = {id: step for id, step in self.accepted.items() if wanted(receiver.wants, step.type)}
            receiver.kept = {id: kept(step) for id, step in wants.items()}
            receiver.came.update(wants.keys())
            self.deliveries[name] = dict.fromkeys(wants, ("delivered", 1))
        self.account = Account(
            events={id: step.fact for id, step in self.accepted.items()},
            deliveries=self.deliveries,
            attempts={name: one.requests for name, one in self.receivers.items()},
            duplicates=sum(step.trick.fate is Fate.DUPLICATE for step in steps),
        )

    def sums(self) -> Sums:
        return add_up(self.answers, self.account, list(self.receivers.values()))


def status(step: Step) -> int:
    if step.trick.fate is Fate.REFUSED:
        return step.trick.status
    return 202 if step.provider == "own" else 200


def kept(step: Step) -> Kept:
    data: dict[str, Any] = {"amount": {"amount": step.cents, "currency": "EUR"}}
    if step.type == "order.created":
        data |= {"id": (step.subject or "").removeprefix("order/"), "customer": {"first_name": FIRST_CUSTOMER}}
    if step.provider == "stripe":
        data["payment_id"] = "pi_1"
    return Kept(step.type, step.subject, to_rfc3339(microseconds(step.time)), data)


def test_a_good_day_adds_up() -> None:
    sums = Evening().sums()
    assert sums.broken == []
    assert sums.sent == sums.accepted + sums.duplicates + sum(sums.refused.values())
    assert all(row.lost == 0 for row in sums.rows)


def lose(evening: Evening) -> None:
    evening.receivers["email"].kept.popitem()


def make_up(evening: Evening) -> None:
    evening.receivers["email"].kept["evt_x"] = Kept("order.created", "order/0", "2026-01-01T00:00:00Z", {})


def let_a_forgery_in(evening: Evening) -> None:
    forged = next(i for i, one in enumerate(evening.answers) if one.step.trick is Trick.FORGED)
    evening.answers[forged] = evening.answers[forged]._replace(status=200)


def refuse_a_true_one(evening: Evening) -> None:
    evening.answers[0] = evening.answers[0]._replace(status=500)


def keep_a_duplicate(evening: Evening) -> None:
    events = {**evening.account.events, "evt_x": evening.answers[0].step.fact}
    evening.account = replace(evening.account, events=events)


def miscount_duplicates(evening: Evening) -> None:
    evening.account = replace(evening.account, duplicates=evening.account.duplicates - 1)


def forget_a_delivery(evening: Evening) -> None:
    evening.deliveries["payments"].popitem()


def fail_a_delivery(evening: Evening) -> None:
    first = next(iter(evening.deliveries["payments"]))
    evening.deliveries["payments"][first] = ("failed", 1)


def hide_an_attempt(evening: Evening) -> None:
    first = next(iter(evening.deliveries["analytics"]))
    evening.deliveries["analytics"][first] = ("delivered", 2)


def lose_an_attempt_row(evening: Evening) -> None:
    evening.account = replace(evening.account, attempts={**evening.account.attempts, "inventory": 0})


def sign_badly(evening: Evening) -> None:
    evening.receivers["payments"].invalid += 1


def repeat_needlessly(evening: Evening) -> None:
    evening.receivers["inventory"].repeats += 1


def disorder(evening: Evening) -> None:
    book = evening.receivers["payments"]
    book.kept = dict(reversed(book.kept.items()))


def round_an_id(evening: Evening) -> None:
    for one in evening.receivers["analytics"].kept.values():
        if one.data.get("id") == str(BIG_ORDER_ID):
            one.data["id"] = str(int(float(BIG_ORDER_ID)))


def overwrite_the_newer(evening: Evening) -> None:
    stock = evening.receivers["inventory"]
    late = next(id for id, step in evening.accepted.items() if step.trick is Trick.LATE)
    subject = stock.kept[late].subject
    _, newer = max((one.time, id) for id, one in stock.kept.items() if one.subject == subject)
    stock.kept[newer] = stock.kept[newer]._replace(time=stock.kept[late].time)


def book_a_cent_less(evening: Evening) -> None:
    book = evening.receivers["payments"].kept
    one = next(one for one in book.values() if one.type == "payment.succeeded")
    one.data["amount"]["amount"] -= 1


def publish_an_alarm(evening: Evening) -> None:
    evening.account = replace(evening.account, operational={"orderwire.delivery.failed": 1})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose, "email: what it keeps and what was sent"),
        (make_up, "email: its webhook-ids"),
        (let_a_forgery_in, "forged signature"),
        (refuse_a_true_one, "was answered 500"),
        (keep_a_duplicate, "as the node lists its events"),
        (miscount_duplicates, "duplicates, as the node counts them"),
        (forget_a_delivery, "payments: the node's deliveries"),
        (fail_a_delivery, "payments: deliveries that are not delivered"),
        (hide_an_attempt, "analytics: attempts of its deliveries"),
        (lose_an_attempt_row, "inventory: attempts in its statistics"),
        (sign_badly, "payments: invalid signatures"),
        (repeat_needlessly, "inventory: repeats"),
        (disorder, "payments: subjects out of order"),
        (round_an_id, "analytics: the customer of order"),
        (overwrite_the_newer, "inventory: subjects whose newest state"),
        (book_a_cent_less, "cents in the book"),
        (publish_an_alarm, "something failed"),
    ],
)
def test_a_spoilt_day_does_not_add_up(spoil: Callable[[Evening], None], says: str) -> None:
    evening = Evening()
    spoil(evening)
    assert any(says in broken for broken in evening.sums().broken)


@pytest.mark.slow
async def test_a_broken_sum_exits_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run.account

    async def account(node: Node, receivers: list[Receiver]) -> Account:
        true = await told(node, receivers)
        return replace(true, duplicates=true.duplicates + 1)

    monkeypatch.setattr(run, "account", account)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert await run.Demo(0, stay=False).run() == 1
    output = capsys.readouterr().out
    assert "duplicates, as the node counts them and as they were sent: 5 against 4" in output
    assert "It does not add up" in output
