"""Group commit: everything that waits is written in one transaction and one fsync.

Accepts and finishes that arrive together become a handful of many-row statements. Those run on the event loop (about
10 us an event, no lock handed back and forth with a busy loop); what can take long - the commit with its fsync, and
every other write - runs on one thread. Measured: a commit of 24 events took 5 ms of wall time with its statements on
the thread, mostly waiting for the interpreter lock.
Promise: a future resolves only after its commit; a unit that cannot be stored fails alone.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from orderwire.errors import OrderwireError, Unavailable
from orderwire.store.base import AcceptItem, Claimed, Finish
from orderwire.store.sqlite import hot, ordering

# What one transaction takes at the most: the event loop stands still while its statements run.
COMMIT_INTERVAL_S = 0.002  # at 1,000 events/s: a quarter less CPU; p99 7 and 11 ms against 27 and 131 without, noisy
ROWS_PER_COMMIT_MAX = 1_000
BYTES_PER_COMMIT_MAX = 16 * 1024 * 1024
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

    __slots__ = ("accept", "call", "finish", "future", "now", "quick", "result", "size")

    def __init__(self, future: "asyncio.Future[Any]", now: int) -> None:
        """An empty unit; exactly one of `accept`, `finish`, `call` is set by the writer's verbs."""
        self.future = future
        self.now = now
        self.accept: Sequence[AcceptItem] | None = None
        self.finish: Sequence[Finish] | None = None
        self.call: Callable[[sqlite3.Connection], Any] | None = None
        self.quick = False
        self.result: Any = None
        self.size = (1, 0)  # rows, bytes

    def left_behind(self) -> list[tuple[str, str]]:
        """(tenant, id) of the deliveries that its caller would send now, if it were still there."""
        if isinstance(self.result, Claimed):
            return [(work.tenant, work.delivery_id) for work in self.result.works]
        if self.accept is None or not isinstance(self.result, list):
            return []
        return [
            (item.event.tenant, target.delivery_id)
            for item, answer in zip(self.accept, self.result, strict=True)
            if not answer.duplicate
            for target in item.targets
            if target.owned and target.delivery_id not in answer.not_owned
        ]


class Writer:
    """Owns the writing connection. Verbs are called on the event loop and return units, whose futures wait."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], owner: str) -> None:
        """`connect` opens the connection, which must not wait for locks; `owner` marks deliveries as this process's."""
        self._connect = connect
        self._owner = owner
        self._connection: sqlite3.Connection | None = None
        self._waiting: deque[Unit] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "orderwire-writer")
        self._stopping = False
        self._next_commit_s = 0.0  # on the loop's clock
        self.commits = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin."""
        self._connection = self._connect()
        self._loop = loop
        self._task = loop.create_task(self._run(), name="orderwire-writer")

    async def stop(self) -> None:
        """Write what waits, then close."""
        self._stopping = True
        self._wake.set()
        try:
            if self._task is not None:
                await self._task
        finally:
            self._thread.shutdown(wait=True)
            self._disconnect()

    @property
    def depth(self) -> int:
        """How many units wait."""
        return len(self._waiting)

    def accept(self, items: Sequence[AcceptItem], now: int) -> Unit:
        """Keep events; see Store.accept."""
        unit = self._unit(now)
        unit.accept = items
        unit.size = (len(items) or 1, sum([_bytes(item) for item in items]))
        return self._submit(unit)

    def finish(self, finishes: Sequence[Finish], now: int) -> Unit:
        """Write ends of attempts; see Store.finish."""
        unit = self._unit(now)
        unit.finish = finishes
        unit.size = (len(finishes) or 1, 0)
        return self._submit(unit)

    def call(self, function: Callable[[sqlite3.Connection], Any], now: int = 0, *, quick: bool = False) -> Unit:
        """Any other write, in a savepoint of its own: `quick` on the loop, else on the thread.

        What reads many rows gives up the interpreter lock at each of them: bounded and indexed, it is quicker here.
        """
        unit = self._unit(now)
        unit.call = function
        unit.quick = quick
        return self._submit(unit)

    def abandon(self, unit: Unit) -> None:
        """Its caller went away: nobody will send what the unit took in hand, so it is given up again."""
        if unit.future.done() and not unit.future.cancelled():  # else `_resolve` sees it
            self._give_up(unit.left_behind(), unit.now)

    def _unit(self, now: int) -> Unit:
        if self._loop is None or self._stopping:
            detail = "the store is closed"
            raise Unavailable(detail)
        return Unit(self._loop.create_future(), now)

    def _submit(self, unit: Unit) -> Unit:
        self._waiting.append(unit)
        self._wake.set()
        return unit

    def _give_up(self, deliveries: list[tuple[str, str]], now: int) -> None:
        if deliveries and self._loop is not None:
            unit = Unit(self._loop.create_future(), now)
            unit.call = lambda connection: ordering.give_up(connection, deliveries, self._owner, now)
            self._submit(unit)

    # -- the loop --------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._wait_for_company()
                units = self._next_units()
                await self._write(units)
                self._resolve(units)

    async def _wait_for_company(self) -> None:
        """Commits begin COMMIT_INTERVAL_S apart: who comes alone does not wait, who come often share an fsync."""
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        pause = self._next_commit_s - loop.time()
        if pause > 0 and not self._stopping:
            await asyncio.sleep(pause)
        self._next_commit_s = loop.time() + COMMIT_INTERVAL_S

    def _next_units(self) -> list[Unit]:
        """As many as one transaction takes, at least one."""
        units: list[Unit] = []
        rows = size = 0
        while self._waiting:
            more_rows, more_bytes = self._waiting[0].size
            rows, size = rows + more_rows, size + more_bytes
            if units and (rows > ROWS_PER_COMMIT_MAX or size > BYTES_PER_COMMIT_MAX):
                break
            units.append(self._waiting.popleft())
        return units

    async def _write(self, units: list[Unit]) -> None:
        error = await self._try(units)
        if error is None:
            return
        if len(units) == 1 or _hits_all_alike(error):
            for unit in units:
                unit.result = translate(error)
            return
        await asyncio.sleep(0)  # a full disk fails in no time: let the loop live
        half = len(units) // 2  # one of them cannot be stored: its neighbours shall succeed
        await self._write(units[:half])
        await self._write(units[half:])

    async def _try(self, units: list[Unit]) -> Exception | None:
        """One transaction; None where it is committed."""
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._gather(self._connection, units)
            slow = [unit for unit in units if unit.call is not None and not unit.quick]
            await loop.run_in_executor(self._thread, _commit, self._connection, slow)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers, and writing goes on
            self._roll_back()
            return error
        self.commits += 1
        return None

    def _gather(self, connection: sqlite3.Connection, units: list[Unit]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        accepts = [unit for unit in units if unit.accept is not None]
        if accepts:
            hot.accept_group(connection, accepts, self._owner)
        finishes = [finish for unit in units if unit.finish is not None for finish in unit.finish]
        if finishes:
            hot.finish_group(connection, finishes, max(unit.now for unit in units), self._owner)
        _run_calls(connection, [unit for unit in units if unit.quick])

    def _roll_back(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:  # nobody knows what state it is in: the next transaction gets a fresh one
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # it is given up either way
                connection.close()

    def _resolve(self, units: list[Unit]) -> None:
        for unit in units:
            if unit.future.done():  # cancelled: the caller went away
                self._give_up(unit.left_behind(), unit.now)
            elif isinstance(unit.result, BaseException):
                unit.future.set_exception(unit.result)
            else:
                unit.future.set_result(unit.result)


def _commit(connection: sqlite3.Connection, slow: list[Unit]) -> None:
    """On the thread: the other writes, then the commit."""
    _run_calls(connection, slow)
    connection.execute("COMMIT")


def _run_calls(connection: sqlite3.Connection, units: list[Unit]) -> None:
    for unit in units:
        unit.result = _in_savepoint(connection, cast("Callable[[sqlite3.Connection], Any]", unit.call))


def translate(error: Exception) -> Exception:
    """SQLite's errors as ours: those that pass are Unavailable (503), the rest stay what they are."""
    why = _NOT_NOW.get(_code(error))
    return error if why is None else Unavailable(f"{why}; nothing of this request was stored, try again")


def _hits_all_alike(error: Exception) -> bool:
    """Whether trying the units one by one would help none of them. A full disk may still take the smaller ones."""
    return _code(error) in _NOT_NOW and _code(error) != sqlite3.SQLITE_FULL


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 where it is no error of SQLite's."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


def _in_savepoint(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], Any]) -> Any:  # noqa: ANN401
    connection.execute("SAVEPOINT unit")
    try:
        result = function(connection)
    except OrderwireError as refusal:
        connection.execute("ROLLBACK TO unit")
        result = refusal
    connection.execute("RELEASE unit")
    return result


def _bytes(item: AcceptItem) -> int:
    raw = item.event.raw
    return len(item.event.data) + (len(raw.body) if raw is not None else 0)
