"""The node under measure: started as a user would, asked by its API, stopped by SIGTERM, then counted."""

import asyncio
import os
import secrets
import signal
import socket
import sqlite3
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic_ns
from typing import Any, Self

import msgspec

READY_WAIT_S, STOP_WAIT_S = 30.0, 30.0
DESTINATION_CONCURRENCY = 64
DATABASE = "orderwire.db"
_POLL_S = 0.01
_CALL_TIMEOUT_S = 10.0
_LOG_TAIL_BYTES = 2000
# Of each event in the store: how many destinations have a delivered attempt, and how many such attempts.
# CROSS JOIN keeps the order: one pass over the attempts, whatever the planner knows of the tables.
STORED_SQL = """
    SELECT events.id, count(DISTINCT deliveries.destination), count(*)
    FROM attempts
    CROSS JOIN deliveries ON deliveries.tenant = 'default' AND deliveries.id = attempts.delivery_id
    CROSS JOIN events ON events.tenant = 'default' AND events.id = deliveries.event_id
    WHERE attempts.outcome = 'delivered'
    GROUP BY events.id
"""


class NodeError(Exception):
    """The node did not start, refused a call, or did not stop."""


class Node:
    """One `orderwire serve` process on a port of its own, its data and log under one folder."""

    def __init__(self, process: Process, port: int, admin_key: str, folder: Path) -> None:
        """Wrap a started process; `start` makes one."""
        self.pid = process.pid
        self.port = port
        self.started_ns = monotonic_ns()
        self._process = process
        self._admin_key = admin_key
        self._folder = folder

    @classmethod
    async def start(cls, folder: Path, program: Sequence[str]) -> Self:
        """Start `program` as `serve` would be, on a free port, data under `folder`/data. Returns at once."""
        port, admin_key = _free_port(), secrets.token_urlsafe(32)
        # A benchmark of the defaults: nothing of the caller's own configuration reaches the node.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERWIRE_")}
        environment |= {
            "ORDERWIRE_ADMIN_KEY": admin_key,
            "ORDERWIRE_ALLOW_NETWORKS": "127.0.0.0/8",
            "ORDERWIRE_ALLOW_HTTP": "true",
        }
        command = [*program, "--port", str(port), "--data", str(folder / "data")]
        with (folder / "node.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
            )
        return cls(process, port, admin_key, folder)

    async def ready(self) -> None:
        """Return once `/readyz` answers 200. Raises NodeError with the end of the log where it never does."""
        deadline_ns = monotonic_ns() + int(READY_WAIT_S * 1e9)
        while monotonic_ns() < deadline_ns and self._process.returncode is None:
            try:
                status, _ = await asyncio.to_thread(self._ask, "GET", "/readyz", None)
            except OSError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(_POLL_S)
        raise NodeError(f"the node did not become ready; the end of its log:\n{self._log_tail()}")

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """One call of the API as admin. Raises NodeError for any answer but 2xx."""
        status, answer = await asyncio.to_thread(self._ask, method, path, body)
        if not 200 <= status < 300:
            raise NodeError(f"{method} {path} was answered {status}: {answer[:500].decode(errors='replace')}")
        return msgspec.json.decode(answer) if answer else None

    async def subscribe(self, ports: Sequence[int], event_type: str) -> list[str]:
        """Make a webhook destination for each receiver's port. Returns their secrets."""
        found = []
        for number, port in enumerate(ports):
            destination = await self.call(
                "POST",
                "/v1/destinations",
                {
                    "kind": "webhook",
                    "name": f"bench-{number}",
                    "events": [event_type],
                    "config": {"url": f"http://127.0.0.1:{port}/"},
                    "concurrency": DESTINATION_CONCURRENCY,
                },
            )
            found.append((await self.call("GET", f"/v1/destinations/{destination['id']}/secret"))["secret"])
        return found

    async def publisher_key(self) -> str:
        """A key as a shop's own program would have it."""
        return str((await self.call("POST", "/v1/keys", {"tenant": "default", "role": "publisher"}))["key"])

    async def stop(self) -> None:
        """SIGTERM, and wait. Raises NodeError unless it exits 0 in time."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(self._process.wait(), STOP_WAIT_S)
        except TimeoutError:
            await self.kill()
            raise NodeError(f"the node did not stop within {STOP_WAIT_S:.0f} s of SIGTERM") from None
        if code != 0:
            raise NodeError(f"the node exited with {code}; the end of its log:\n{self._log_tail()}")

    async def kill(self) -> None:
        """End it now; nothing to do where it has ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def stored(self) -> dict[str, tuple[int, int]]:
        """Event id -> (destinations with a delivered attempt, such attempts), from the stopped node."""
        path = self._folder / "data" / DATABASE
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return {event: (places, attempts) for event, places, attempts in database.execute(STORED_SQL)}

    def _ask(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self._admin_key}", "content-type": "application/json"}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=_CALL_TIMEOUT_S)) as connection:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _log_tail(self) -> str:
        return (self._folder / "node.log").read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


def serve_program() -> list[str]:
    """The command of this very installation's node."""
    return [sys.executable, "-m", "orderwire", "serve"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
