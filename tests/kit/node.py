"""One `orderwire serve` process: started as a user would, stopped by SIGTERM, or not so gently."""

import contextlib
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

READY_WAIT_S = 60.0
STOP_WAIT_S = 60.0
POLL_S = 0.01
LOG_TAIL_CHARS = 4000
DATABASE = "orderwire.db"
LOOPBACK = {"ALLOW_HTTP": "true", "ALLOW_NETWORKS": "127.0.0.0/8,::1/128"}
# What must never stand in a log: something nobody foresaw.
UNFORESEEN = re.compile(
    r"Traceback \(most recent call last\)|hot_route_failed|background_work_failed|never retrieved|on_answers raised"
)


class NodeDied(Exception):
    """The node did not start, or ended by itself; the end of its log says why."""


class Node:
    """A node on a port of its own, with its data and log in `folder`. May be started again and again."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None, *, data: Path | None = None) -> None:
        """`settings`: `ORDERWIRE_*` variables without the prefix, instead of those that open the way to loopback."""
        self.folder = folder
        self.data = data or folder / "data"
        self.key = "ow_" + secrets.token_urlsafe(24)
        self.port = _free_port()
        self.starts = 0
        self._settings = LOOPBACK if settings is None else settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start, and return once it is ready; the seconds that took. Raises NodeDied."""
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
                cwd=self.folder,
            )
        self.starts += 1
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() - began > READY_WAIT_S:
                self.kill()
                raise NodeDied(f"not ready; exit code {self._process.returncode}; the end of its log:\n{self.tail}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_WAIT_S)
        return code, time.monotonic() - began

    def run(self, *, within_s: float = 30.0) -> tuple[int, str]:
        """A further process with the same settings, expected to end by itself; its exit code and what it said."""
        ended = subprocess.run(
            self.command(port=0),
            capture_output=True,
            env=self.environment(),
            timeout=within_s,
            cwd=self.folder,
            check=False,
        )
        return ended.returncode, (ended.stdout + ended.stderr).decode(errors="replace")

    def command(self, port: int | None = None) -> list[str]:
        """As one would type it."""
        port = self.port if port is None else port
        return [sys.executable, "-m", "orderwire", "serve", "--port", str(port), "--data", str(self.data)]

    def environment(self) -> dict[str, str]:
        """The caller's, without its own Orderwire settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERWIRE_")}
        return kept | {f"ORDERWIRE_{name}": value for name, value in {"ADMIN_KEY": self.key, **self._settings}.items()}

    # -- looking at it from outside --------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        return self.folder / "node.log"

    @property
    def log(self) -> str:
        """All it said since its first start."""
        return self.log_file.read_text("utf-8", errors="replace") if self.log_file.exists() else ""

    @property
    def tail(self) -> str:
        return self.log[-LOG_TAIL_CHARS:]

    def unforeseen(self) -> list[str]:
        """Lines of the log that no node should ever write."""
        return [line for line in self.log.splitlines() if UNFORESEEN.search(line)]

    def memory_bytes(self) -> int:
        """What it holds of the machine's memory now (resident)."""
        return self._status_kib("VmRSS") * 1024

    def memory_peak_bytes(self) -> int:
        """The most it ever held."""
        return self._status_kib("VmHWM") * 1024

    def cpu_s(self) -> float:
        """Seconds of processor time it has used since its last start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """A look into its file, for sums that no call of the API gives."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data / DATABASE}?mode=ro", uri=True, timeout=30)) as file:
            return file.execute(statement, values).fetchall()

    def integrity(self) -> str:
        """`ok`, or what SQLite finds wrong with the file."""
        return str(self.query("PRAGMA integrity_check")[0][0])

    def statuses(self) -> dict[str, int]:
        """How many deliveries there are in each state."""
        return dict(self.query("SELECT status, count(*) FROM deliveries GROUP BY status"))

    def _status_kib(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0])

    def _ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
