"""What `orderwire doctor` looks at on this machine: versions, settings, the data folder."""

import fcntl
import os
import platform
import shutil
import sqlite3
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orderwire.settings import (
    ADMIN_KEY_FILE,
    SECRET_KEY_FILE,
    Settings,
    SettingsError,
    is_loopback,
    load_settings,
)
from orderwire.store.sqlite.store import FILE_NAME

SQLITE_MIN = (3, 38, 0)  # RETURNING, and JSON built in
FREE_BYTES_WARN, FREE_BYTES_FAIL = 2 * 1024**3, 200 * 1024**2


class Mark(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, what to do next."""

    mark: Mark
    subject: str
    found: str
    next: str = ""


def look_at_machine(data_dir: str | None) -> list[Finding]:
    """Versions, settings and the data folder."""
    findings = [_python(), _sqlite()]
    try:
        settings = load_settings({"data": data_dir})
    except SettingsError as error:
        return [
            *findings,
            *(Finding(Mark.FAIL, "settings here", problem, "orderwire serve --help") for problem in error.problems),
        ]
    return [*findings, _settings(settings), *_public_url(settings), *_folder(settings.data)]


def _python() -> Finding:
    return Finding(Mark.OK, "python", platform.python_version())


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        need = ".".join(map(str, SQLITE_MIN))
        return Finding(Mark.FAIL, "sqlite", sqlite3.sqlite_version, f"a Python with SQLite {need} or newer")
    return Finding(Mark.OK, "sqlite", sqlite3.sqlite_version)


def _settings(settings: Settings) -> Finding:
    if settings.allow_http or settings.allow_networks:
        open_to = ["plain http"] if settings.allow_http else []
        open_to += map(str, settings.allow_networks)
        return Finding(
            Mark.WARN,
            "settings here",
            f"deliveries may reach {', '.join(open_to)}",
            "right for development; elsewhere unset ORDERWIRE_ALLOW_HTTP and ORDERWIRE_ALLOW_NETWORKS",
        )
    return Finding(Mark.OK, "settings here", f"listens on {settings.host}:{settings.port}, data in {settings.data}")


def _public_url(settings: Settings) -> list[Finding]:
    url = settings.public_url
    if url is None:
        if is_loopback(settings.host):
            return []
        return [
            Finding(
                Mark.WARN, "public url", "not set: links and ingest URLs name this machine", "set ORDERWIRE_PUBLIC_URL"
            )
        ]
    if url.startswith("http://"):
        return [
            Finding(Mark.WARN, "public url", f"{url} is not https", "providers refuse plain http: give an https:// URL")
        ]
    return [Finding(Mark.OK, "public url", url)]


def _folder(folder: Path) -> list[Finding]:
    if not folder.exists():
        return [Finding(Mark.WARN, "data folder", f"there is no {folder} yet", "orderwire serve makes it")]
    findings = [_writable(folder), _free(folder)]
    findings += [
        _private(folder / name) for name in (ADMIN_KEY_FILE, SECRET_KEY_FILE, FILE_NAME) if (folder / name).exists()
    ]
    return [*findings, _lock(folder)]


def _writable(folder: Path) -> Finding:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            Mark.FAIL, "data folder", f"{folder} cannot be written by this user", "run as its owner, or chown it"
        )
    return Finding(Mark.OK, "data folder", str(folder))


def _free(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GiB free"
    if free < FREE_BYTES_FAIL:
        return Finding(Mark.FAIL, "disk", found, "make room: a node on a full disk answers 503 to every event")
    if free < FREE_BYTES_WARN:
        return Finding(Mark.WARN, "disk", found, "make room, or lower ORDERWIRE_RETENTION_DAYS")
    return Finding(Mark.OK, "disk", found)


def _private(file: Path) -> Finding:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077 and file.parent.stat().st_mode & 0o077:
        return Finding(Mark.FAIL, file.name, f"mode {mode:04o}: other users can read it", f"chmod 600 {file}")
    return Finding(Mark.OK, file.name, f"mode {mode:04o}, nobody else can read it")


def _lock(folder: Path) -> Finding:
    """Whether a node runs on the folder. Asks for the lock and gives it back at once."""
    path = (folder / FILE_NAME).with_suffix(".lock")
    if not path.exists():
        return Finding(Mark.OK, "lock", "no node has used this folder yet")
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding(Mark.OK, "lock", "a node is running on this folder")
    except OSError as error:
        return Finding(Mark.WARN, "lock", f"{path} cannot be read: {error.strerror}", "run as the folder's owner")
    return Finding(Mark.OK, "lock", "free: no node is running on this folder")
