"""The demo's node: `orderwire serve` on a free port, its data in a temporary folder, spoken to by its public API."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import msgspec

READY_WAIT_S, STOP_WAIT_S = 30.0, 15.0
LOG = "node.log"
PAGE_MAX = 250  # the API's own limit
_CALL_TIMEOUT_S = 20.0
_POLL_S = 0.05


class NodeError(Exception):
    """The node did not start, did not answer, refused what it should take, or did not stop cleanly."""


class Answer(NamedTuple):
    """What the node answered."""

    status: int
    body: bytes


class Node:
    """One node process. Use it by `start`, then `stop`; `kill` at any time."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin_key: str) -> None:
        """Wrap a started process; `start` makes one."""
        self.url = f"http://127.0.0.1:{port}"
        self.admin_key = admin_key
        self._port = port
        self._process = process

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start it; returns at once. Only its own settings reach it, and Ctrl-C does not: stopping it is ours."""
        port, admin_key = _free_port(), "ow_" + secrets.token_urlsafe(24)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERWIRE_")}
        environment |= {
            "ORDERWIRE_ADMIN_KEY": admin_key,
            "ORDERWIRE_ALLOW_NETWORKS": "127.0.0.0/8",
            "ORDERWIRE_ALLOW_HTTP": "true",
        }
        command = [sys.executable, "-m", "orderwire", "serve", "--port", str(port), "--data", str(folder / "data")]
        with (folder / LOG).open("wb") as written:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        return cls(process, port, admin_key)

    async def ready(self) -> None:
        """Return once it takes events. Raises NodeError."""
        deadline = monotonic() + READY_WAIT_S
        while monotonic() < deadline and self._process.poll() is None:
            try:
                if (await self.ask("GET", "/readyz")).status == 200:
                    return
            except NodeError:
                pass  # not listening yet
            await asyncio.sleep(_POLL_S)
        raise NodeError("the node did not become ready")

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Whatever it answers to a request with these very headers. Raises NodeError where it does not."""
        try:
            return await asyncio.to_thread(self._ask, method, path, body, headers or {})
        except (OSError, HTTPException) as error:
            gone = "" if self.is_running else f"; it has ended with {self._process.returncode}"
            raise NodeError(f"the node does not answer {method} {path}: {error!r}{gone}") from error

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """One call of the API as admin. Raises NodeError for any answer but 2xx."""
        headers = self.authorization | {"content-type": "application/json"}
        answer = await self.ask(method, path, None if body is None else msgspec.json.encode(body), headers)
        if not 200 <= answer.status < 300:
            raise NodeError(
                f"{method} {path} was answered {answer.status}: {answer.body[:500].decode(errors='replace')}"
            )
        return msgspec.json.decode(answer.body)

    async def pages(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """Every row of a list, newest first."""
        cursor: str | None = ""
        while cursor is not None:
            words = {**query, "limit": str(PAGE_MAX)} | ({"cursor": cursor} if cursor else {})
            page = await self.call("GET", f"{path}?{urlencode(words)}")
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]

    async def metric(self, name: str) -> int:
        """A counter of `/metrics`, summed over its labels."""
        text = (await self.ask("GET", "/metrics", headers=self.authorization)).body.decode()
        lines = (line.rpartition(" ") for line in text.splitlines())
        return sum(int(float(value)) for label, _, value in lines if label.partition("{")[0] == name)

    @property
    def authorization(self) -> dict[str, str]:
        """The admin's header."""
        return {"authorization": f"Bearer {self.admin_key}"}

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and wait. Raises NodeError unless it exits 0 in time; it has ended in any case."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            raise NodeError(f"the node did not stop within {STOP_WAIT_S:.0f} s of SIGTERM") from None
        finally:
            self.kill()
        if code != 0:
            raise NodeError(f"the node exited with {code}")

    def kill(self) -> None:
        """End it now; nothing to do where it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=_CALL_TIMEOUT_S)) as connection:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
