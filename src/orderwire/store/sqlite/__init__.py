"""The store on one SQLite file: one node, nothing to install."""

from orderwire.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
