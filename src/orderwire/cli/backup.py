"""`orderwire backup`: a consistent copy of the SQLite store while the node runs, checked before it counts."""

import os
import sqlite3
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from orderwire.cli.failures import Failure
from orderwire.cli.output import emit
from orderwire.settings import SECRET_KEY_FILE, data_folder
from orderwire.store.sqlite.store import FILE_NAME
from orderwire.store.sqlite.store import backup as copy


def backup(
    target: Path, /, *, data: Annotated[str | None, Parameter(name=("--data", "--data-dir"))] = None, json: bool = False
) -> None:
    """Copy the SQLite store while the node runs, and check the copy.

    Parameters
    ----------
    target
        The new file; it must not exist yet.
    data
        The node's data folder [ORDERWIRE_DATA; default ./orderwire-data].
    json
        Print JSON instead of a sentence.
    """
    source = data_folder(data) / FILE_NAME
    if not source.exists():
        raise Failure(f"there is no {source}", "name the node's data folder with --data")
    if not target.parent.is_dir():
        raise Failure(f"there is no folder {target.parent}")
    os.umask(0o077)  # the copy holds what the store holds
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("copying", total=None)
        try:
            copy(source, target, lambda done, total: progress.update(task, completed=done, total=total))
        except sqlite3.Error as error:
            raise Failure(f"{source} cannot be copied: {error}", "see: orderwire doctor") from None
        progress.update(task, description="checking", total=None)
        check(target)
    size = target.stat().st_size
    if json:
        emit(msgspec.json.encode({"target": str(target), "bytes": size, "integrity": "ok"}))
        return
    print(f"{target}: {size / 1_000_000:,.1f} MB, integrity ok")
    print(f"keep {source.with_name(SECRET_KEY_FILE)} with it, elsewhere: without it the copy's secrets do not open")


def check(path: Path) -> None:
    """SQLite's own full check of a copy, which is removed where it fails. Raises Failure with what it found."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    finally:
        connection.close()
    if found != ["ok"]:
        path.unlink()
        raise Failure("the copy is damaged, and so the store may be; the copy was removed", *found[:10])
