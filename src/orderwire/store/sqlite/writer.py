"""Group commit: everything that waits is written in one transaction and one fsync.

Accepts and finishes that arrive together become a handful of many-row statements. Those run on the event loop (about
10 us an event, no lock handed back and forth with a busy loop); what can take long - the commit with its fsync, and
every other write - runs on one thread. Measured: a commit of 24 events took 5 ms of wall time with its statements on
the thread, mostly waiting for the interpreter lock.
Promise: a future resolves only after its commit; a unit that cannot be stored fails alone.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from orderwire.errors import OrderwireError, Unavailable
from orderwire.store.base import Accepted, AcceptItem, Finish
from orderwire.store.sqlite import hot

UNITS_PER_COMMIT_MAX = 2_000
_NOT_NOW = {  # primary result codes: the caller may come back
    sqlite3.SQLITE_FULL: "the disk (or the database's size limit) is full",
    sqlite3.SQLITE_IOERR: "the disk does not write",
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_LOCKED: "the database is locked",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_NOMEM: "out of memory",
}


class Unit:
    """One caller's write: what to do, and the future that waits for the commit."""

    __slots__ = ("accept", "call", "finish", "future", "now", "result")

    def __init__(self, future: "asyncio.Future[Any]", now: int) -> None:
        """An empty unit; exactly one of `accept`, `finish`, `call` is set by the writer's verbs."""
        self.future = future
        self.now = now
        self.accept: Sequence[AcceptItem] | None = None
        self.finish: Sequence[Finish] | None = None
        self.call: Callable[[sqlite3.Connection], Any] | None = None
        self.result: Any = None


class Writer:
    """Owns the writing connection. Verbs are called on the event loop and return futures."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], owner: str) -> None:
        """`connect` opens the connection; `owner` marks deliveries as this process's."""
        self._connect = connect
        self._owner = owner
        self._waiting: deque[Unit] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "orderwire-writer")
        self._stopping = False
        self.commits = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin."""
        self._loop = loop
        self._task = loop.create_task(self._run(self._connect()), name="orderwire-writer")

    async def stop(self) -> None:
        """Write what waits, then close."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    @property
    def depth(self) -> int:
        """How many units wait."""
        return len(self._waiting)

    def accept(self, items: Sequence[AcceptItem], now: int) -> "asyncio.Future[list[Accepted]]":
        """Keep events; see Store.accept."""
        unit = self._unit(now)
        unit.accept = items
        return self._submit(unit)

    def finish(self, finishes: Sequence[Finish], now: int) -> "asyncio.Future[None]":
        """Write ends of attempts; see Store.finish."""
        unit = self._unit(now)
        unit.finish = finishes
        return self._submit(unit)

    def call(self, function: Callable[[sqlite3.Connection], Any]) -> "asyncio.Future[Any]":
        """Any other write: `function` runs on the thread inside the transaction, in a savepoint of its own."""
        unit = self._unit(0)
        unit.call = function
        return self._submit(unit)

    def _unit(self, now: int) -> Unit:
        if self._loop is None or self._stopping:
            detail = "the store is closed"
            raise Unavailable(detail)
        return Unit(self._loop.create_future(), now)

    def _submit(self, unit: Unit) -> "asyncio.Future[Any]":
        self._waiting.append(unit)
        self._wake.set()
        return unit.future

    async def _run(self, connection: sqlite3.Connection) -> None:
        while self._waiting or not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                count = min(len(self._waiting), UNITS_PER_COMMIT_MAX)
                units = [self._waiting.popleft() for _ in range(count)]
                await self._write(connection, units)
                _resolve(units)
        connection.close()

    async def _write(self, connection: sqlite3.Connection, units: list[Unit]) -> None:
        try:
            self._gather(connection, units)
            calls = [unit for unit in units if unit.call is not None]
            await cast("asyncio.AbstractEventLoop", self._loop).run_in_executor(
                self._thread, _commit, connection, calls
            )
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers, and writing goes on
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(units) == 1:
                units[0].result = translate(error)
                return
            for unit in units:  # one of them cannot be stored: its neighbours shall succeed
                await self._write(connection, [unit])

    def _gather(self, connection: sqlite3.Connection, units: list[Unit]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        accepts = [unit for unit in units if unit.accept is not None]
        if accepts:
            hot.accept_group(connection, accepts, self._owner)
        finishes = [finish for unit in units if unit.finish is not None for finish in unit.finish]
        if finishes:
            hot.finish_group(connection, finishes, max(unit.now for unit in units), self._owner)


def _commit(connection: sqlite3.Connection, calls: list[Unit]) -> None:
    """On the thread: the other writes, then the commit."""
    for unit in calls:
        unit.result = _in_savepoint(connection, cast("Callable[[sqlite3.Connection], Any]", unit.call))
    connection.execute("COMMIT")


def translate(error: BaseException) -> BaseException:
    """SQLite's errors as ours: those that pass are Unavailable (503), the rest stay what they are."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        why = _NOT_NOW.get(code & 0xFF) if code is not None else None
        if why is not None:
            return Unavailable(f"{why}; nothing of this request was stored, try again")
    return error


def _in_savepoint(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], Any]) -> Any:  # noqa: ANN401
    connection.execute("SAVEPOINT unit")
    try:
        result = function(connection)
    except OrderwireError as refusal:
        connection.execute("ROLLBACK TO unit")
        result = refusal
    connection.execute("RELEASE unit")
    return result


def _resolve(units: list[Unit]) -> None:
    for unit in units:
        if unit.future.done():
            continue
        if isinstance(unit.result, BaseException):
            unit.future.set_exception(unit.result)
        else:
            unit.future.set_result(unit.result)
