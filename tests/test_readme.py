"""The README's first event works, word for word, against a node started as it says."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A node with the README's settings, on a free port."""
    serve = re.search(r"^ +(ORDERWIRE_ADMIN_KEY=.*) \.venv/bin/orderwire serve &$", README, re.MULTILINE)
    assert serve is not None
    settings = dict(pair.split("=", 1) for pair in serve[1].split())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "orderwire", "serve", "--port", str(free), "--data", str(tmp_path)]
    node = subprocess.Popen(command, env=os.environ | settings)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{free}/readyz", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        yield free
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(timeout=15) == 0


def test_the_first_event_of_the_readme_is_kept_and_tried(port: int) -> None:
    block = re.search(r"<!-- first-event -->\n(.*?)<!-- /first-event -->", README, re.DOTALL)
    assert block is not None
    script = block[1].replace("localhost:8080", f"127.0.0.1:{port}")
    commands = re.split(r"\n(?=    curl)", script.strip("\n"))
    destination, event, _ = (
        json.loads(subprocess.run(["sh", "-c", command], check=True, capture_output=True).stdout)
        for command in commands
    )
    assert event["deliveries"] == 1
    delivery = {"status": "pending"}
    for _ in range(100):
        output = subprocess.run(["sh", "-c", commands[2]], check=True, capture_output=True).stdout
        (delivery,) = json.loads(output)["data"]
        if delivery["status"] == "retrying":
            break
        time.sleep(0.1)
    assert delivery["destination"] == destination["id"]
    assert delivery["event"] == event["id"]
    assert delivery["reason"] == "connect_failed"
    assert delivery["next_attempt_at"] is not None
