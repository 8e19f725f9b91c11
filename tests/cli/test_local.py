"""The helpers that ask no node: verify, backup, the secret key, doctor; and the pages made from the code."""

import json
import re
import sqlite3
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from orderwire.cli.reference import DOCS, cli_page, configuration_page
from orderwire.crypto import SecretBox
from orderwire.signing import new_secret, public_part
from orderwire.sources import KINDS
from tests.cli.conftest import Run
from tests.cli.scripted import Answer, Asked, scripted

SECRETS = {"standard": new_secret("v1"), "shopify": "shpss_hush", "stripe": "whsec_hush"}
BODY = b'{"id":"evt_1","type":"order.created","data":{"total":10.10}}'


def headers(kind: str, body: bytes = BODY, age_s: int = 0, secret: str = "") -> list[str]:
    now = (int(time.time()) - age_s) * 1_000_000
    signed = KINDS[kind].sign(secret or SECRETS[kind], body, now, topic="orders/create", message_id="msg_1")
    return [word for name, value in signed.items() for word in ("--header", f"{name}: {value}")]


def verify(
    run: Run, tmp_path: Path, kind: str, body: bytes, *words: str, secret: str = ""
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "body").write_bytes(body)
    return run("verify", kind, "--secret", secret or SECRETS[kind], "--body", "body", *words)


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_a_true_webhook_verifies(run: Run, tmp_path: Path, kind: str) -> None:
    done = verify(run, tmp_path, kind, BODY, *headers(kind))
    assert (done.returncode, done.stdout) == (0, "the signature is right\n"), done.stderr


def test_an_ed25519_webhook_verifies_with_the_public_key(run: Run, tmp_path: Path) -> None:
    private = new_secret("v1a")
    words = headers("standard", secret=private)
    done = verify(run, tmp_path, "standard", BODY, *words, secret=public_part(private))
    assert done.returncode == 0, done.stdout
    other = verify(run, tmp_path, "standard", BODY, *words, secret=public_part(new_secret("v1a")))
    assert other.returncode == 1


@pytest.mark.parametrize("kind", sorted(SECRETS))
@pytest.mark.parametrize(
    ("came", "words"),
    [
        (BODY + b"\n", "without its last line end"),
        (json.dumps(json.loads(BODY), indent=2).replace("10.1", "10.10").encode(), "formatted after it was signed"),
        (b"", "the body is empty"),
        (b'{"other":1}', "the endpoint's own"),
    ],
)
def test_a_changed_body_is_told_apart(run: Run, tmp_path: Path, kind: str, came: bytes, words: str) -> None:
    done = verify(run, tmp_path, kind, came, *headers(kind))
    assert done.returncode == 1
    assert words.replace("the endpoint", "this endpoint") in done.stdout


@pytest.mark.parametrize("kind", ["standard", "stripe"])
def test_an_old_one_is_right_but_old(run: Run, tmp_path: Path, kind: str) -> None:
    old = headers(kind, age_s=7_300)
    done = verify(run, tmp_path, kind, BODY, *old)
    assert done.returncode == 1
    assert "the signature itself is right, but it is 2 hours old" in done.stdout
    assert verify(run, tmp_path, kind, BODY, *old, "--ignore-age").returncode == 0


def test_a_missing_header_and_a_secret_that_is_none_are_named(run: Run, tmp_path: Path) -> None:
    missing = verify(run, tmp_path, "standard", BODY, *headers("standard")[:-2])
    assert "no header webhook-signature" in missing.stdout
    wrong = verify(run, tmp_path, "standard", BODY, *headers("standard"), secret="whsec_!!")
    assert "the secret cannot be one" in wrong.stdout
    assert verify(run, tmp_path, "standard", BODY, "--header", "nonsense").returncode == 2
    assert run("verify", "nobody", "--secret", "x").returncode == 2


def test_headers_come_from_a_file_too_and_the_verdict_as_json(run: Run, tmp_path: Path) -> None:
    given = [word for word in headers("stripe") if word != "--header"]
    (tmp_path / "lines").write_text("POST /hook HTTP/1.1\nHost: x\n" + "\n".join(given) + "\n\n")
    (tmp_path / "object").write_text(json.dumps(dict(line.split(": ", 1) for line in given)))
    for name in ("lines", "object"):
        done = verify(run, tmp_path, "stripe", BODY, "--headers", name, "--json")
        assert json.loads(done.stdout) == {"valid": True, "reasons": []}


def test_a_secret_key_is_made_that_opens_what_it_seals(run: Run) -> None:
    made = [run("keys", "generate-secret-key").stdout.strip() for _ in range(2)]
    assert len(set(made)) == 2
    assert len(b64decode(made[0])) == 32
    box = SecretBox.from_text(",".join(made))
    assert box.open(box.seal("hush", "row"), "row") == "hush"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file as the store leaves it, as far as a backup looks."""
    (tmp_path / "orderwire-data").mkdir(mode=0o700)
    path = tmp_path / "orderwire-data" / "orderwire.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE config (id TEXT)")
    connection.executemany("INSERT INTO config VALUES (?)", [(str(n) * 50,) for n in range(5_000)])
    connection.commit()
    connection.close()
    return path


def test_a_backup_is_whole_private_and_never_written_over(run: Run, tmp_path: Path, database: Path) -> None:
    done = run("backup", "copy.db")
    assert done.returncode == 0, done.stderr
    assert "integrity ok" in done.stdout
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT count(*) FROM config").fetchone() == (5_000,)
    copy.close()
    again = run("backup", "copy.db")
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert json.loads(run("backup", "b.db", "--data", "orderwire-data", "--json").stdout)["integrity"] == "ok"


def test_a_backup_of_nothing_and_of_a_damaged_file_fails(run: Run, tmp_path: Path, database: Path) -> None:
    nothing = run("backup", "x.db", "--data", "elsewhere")
    assert nothing.returncode == 1
    assert "--data" in nothing.stderr
    with database.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 8192)
    assert run("backup", "x.db").returncode == 1


def test_doctor_looks_at_this_machine(run: Run, tmp_path: Path, database: Path) -> None:
    (database.parent / "admin.key").write_text("k")
    good = run("doctor", "--local", "--json")
    findings = {one["subject"]: one["mark"] for one in json.loads(good.stdout)["data"]}
    assert findings["python"] == findings["sqlite"] == findings["data folder"] == findings["admin.key"] == "ok"
    database.parent.chmod(0o755)
    (database.parent / "admin.key").chmod(0o644)
    bad = run("doctor", "--local")
    assert bad.returncode == 1
    assert "chmod 600" in bad.stdout
    broken = run("doctor", "--local", ORDERWIRE_PORT="x")
    assert broken.returncode == 1
    assert "ORDERWIRE_PORT" in broken.stdout


def test_doctor_asks_the_node(run: Run) -> None:
    lanes = [
        {"id": "dst_1", "name": "a", "state": "disabled", "disabled_reason": "gone"},
        {"id": "dst_2", "name": "b", "state": "active"},
        {"id": "dst_3", "name": "c", "state": "active"},
    ]

    def answer(asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        if path.endswith("/stats"):
            return 200, {"breaker_open": "dst_2" in path, "success_rate": 0.5, "attempts": 9}
        return 200, {"data": lanes, "next_cursor": None} if path == "/v1/destinations" else {}

    with scripted(answer) as node:
        sick = run("doctor", "--url", node.url)
        lanes[:2] = []
        well = run("doctor", "--url", node.url)
        node.answer = lambda asked: (200, {}) if asked.path.endswith("z") else (401, {"title": "Unauthorized"})
        keyless = run("doctor", "--url", node.url)
    assert (sick.returncode, well.returncode, keyless.returncode) == (1, 0, 1)
    assert "disabled: gone" in sick.stdout
    assert "orderwire destinations resume dst_1" in sick.stdout
    assert "breaker is open" in sick.stdout
    assert "only 50% of 9 attempts" in well.stdout
    assert "no key was found" in keyless.stdout


@pytest.mark.parametrize(("name", "page"), [("cli.md", cli_page), ("configuration.md", configuration_page)])
def test_the_pages_are_made_from_the_code(name: str, page: Callable[[], str]) -> None:
    written = (DOCS / name).read_text("utf-8")
    assert written == page(), "write it anew: python -m orderwire.cli.reference"
    assert not re.search(r"[^\x00-\x7f]", written) or name == "cli.md"
