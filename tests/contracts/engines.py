"""The engines that keep the seam `orderwire.store.base.Store`. A new engine is one more entry of ENGINES.

Nothing else under `tests/contracts/` knows an engine. What only one engine has is told by its flags; what only one
engine is asked stands in `tests/store/`.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orderwire.clock import Clock
from orderwire.store.base import Store
from orderwire.store.sqlite import SqliteStore


@dataclass(frozen=True)
class Engine:
    """How to make a store at a place of its own. `place` is text, so that another process can open the same."""

    name: str
    new_place: Callable[[Path], str]
    make: Callable[[str, Clock], Store]
    pretend_newer: Callable[[str], None]  # leaves the (closed) place as if a later version had written it
    one_process: bool  # a second open of the same place is refused
    copies_to_a_file: bool  # `backup` makes a file that `make` opens


def _sqlite_newer(place: str) -> None:
    connection = sqlite3.connect(place)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


ENGINES = {
    "sqlite": Engine(
        name="sqlite",
        new_place=lambda folder: str(folder / "orderwire.db"),
        make=lambda place, clock: SqliteStore(Path(place), clock),
        pretend_newer=_sqlite_newer,
        one_process=True,
        copies_to_a_file=True,
    ),
}
