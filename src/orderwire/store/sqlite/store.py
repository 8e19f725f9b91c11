"""`SqliteStore`: the seam's verbs on one file. Writes go to the writer's thread, reads to two reading threads."""

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, TypeVar

from orderwire.clock import Clock
from orderwire.errors import Conflict, OrderwireError, Unavailable
from orderwire.ids import new_id
from orderwire.model import Attempt, Delivery, Event, LaneHealth, RawBody
from orderwire.store.base import (
    Accepted,
    AcceptItem,
    AuditEntry,
    Claimed,
    ConfigRow,
    DeliveryQuery,
    EventQuery,
    Finish,
    LaneDue,
    Page,
    Pruned,
    ReplayJob,
    StatRow,
    Target,
    Want,
    Work,
)
from orderwire.store.sqlite import changing, claiming, hot, ordering, reading, replaying
from orderwire.store.sqlite.writer import Writer, translate

FILE_NAME = "orderwire.db"
READERS = 3  # counting a large lane or searching payloads takes one for a while
STATEMENTS_CACHED = 1_024  # the many-row statements have one text for each of CHUNK_ROWS sizes
WAL_PAGES_PER_CHECKPOINT = 4_000
WAL_BYTES_KEPT = 64 * 1024 * 1024  # a long backup lets it grow: afterwards it shrinks to this
BACKUP_PAGES_PER_STEP = 256
PROBE_BYTES = 64 * 1024
T = TypeVar("T")


class SqliteStore:
    """The store on one file. One process at a time: an exclusive lock beside the file says so."""

    def __init__(self, path: Path, clock: Clock, *, pages_max: int | None = None) -> None:
        """`path`: the database file, made when missing. `pages_max`: SQLite's page limit, for tests of a full disk."""
        self._path = path
        self._pages_max = pages_max
        self._lock: IO[bytes] | None = None
        self._clock = clock
        self._owner = new_id("own", clock.now())
        self._writer = Writer(lambda: self._connect(timeout_s=0), self._owner)  # it must never block the event loop
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    # -- life ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See Store.open."""
        await asyncio.to_thread(self._open)
        try:
            self._writer.start(asyncio.get_running_loop())
        except sqlite3.Error as error:
            self._unlock()
            raise _refusal(error, self._path) from error
        self._readers = ThreadPoolExecutor(READERS, "orderwire-reader")

    async def close(self) -> None:
        """See Store.close."""
        try:
            await self._writer.stop()
        finally:
            readers, self._readers = self._readers, None
            if readers is not None:
                await asyncio.to_thread(readers.shutdown)
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._unlock()

    async def ping(self) -> None:
        """See Store.ping."""
        await self._write(_probe)

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """See Store.backup."""
        await asyncio.to_thread(backup, self._path, target, progress)

    @property
    def depth(self) -> int:
        """How many writes wait for the writer."""
        return self._writer.depth

    @property
    def commits(self) -> int:
        """How many transactions were committed since the start."""
        return self._writer.commits

    # -- the hot path ----------------------------------------------------------------------------

    async def accept(self, items: Sequence[AcceptItem], now: int) -> list[Accepted]:
        """See Store.accept."""
        unit = self._writer.accept(items, now)
        try:
            answers: list[Accepted] = await unit.future
        except asyncio.CancelledError:
            self._writer.abandon(unit)
            raise
        return answers

    async def finish(self, finishes: Sequence[Finish], now: int) -> None:
        """See Store.finish."""
        await self._writer.finish(finishes, now).future

    async def claim(self, wants: Sequence[Want], now: int) -> Claimed:
        """See Store.claim."""
        return await self._write(lambda c: claiming.claim(c, wants, now, self._owner), now, quick=True)

    async def release(self, works: Sequence[Work], now: int) -> None:
        """See Store.release."""
        places = [(work.tenant, work.delivery_id) for work in works]
        await self._write(lambda c: ordering.give_up(c, places, self._owner, now))

    async def due_lanes(self) -> list[LaneDue]:
        """See Store.due_lanes."""
        return await self._read(claiming.due_lanes)

    # -- reading ---------------------------------------------------------------------------------

    async def get_event(self, tenant: str, public_id: str) -> Event | None:
        """See Store.get_event."""
        return await self._read(lambda c: reading.resolve_event(c, tenant, public_id))

    async def get_raw(self, tenant: str, event_id: str) -> RawBody | None:
        """See Store.get_raw."""
        return await self._read(lambda c: reading.get_raw(c, tenant, event_id))

    async def list_events(self, query: EventQuery) -> Page[Event]:
        """See Store.list_events."""
        return await self._read(lambda c: reading.list_events(c, query))

    async def get_delivery(self, tenant: str, delivery_id: str) -> Delivery | None:
        """See Store.get_delivery."""
        return await self._read(lambda c: reading.get_delivery(c, tenant, delivery_id))

    async def list_deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """See Store.list_deliveries."""
        return await self._read(lambda c: reading.list_deliveries(c, query))

    async def list_attempts(
        self, tenant: str, delivery_id: str, limit: int, before_number: int | None
    ) -> list[Attempt]:
        """See Store.list_attempts."""
        return await self._read(lambda c: reading.list_attempts(c, tenant, delivery_id, limit, before_number))

    async def lane_stats(self, destination: str, since: int, until: int) -> list[StatRow]:
        """See Store.lane_stats."""
        return await self._read(lambda c: reading.lane_stats(c, destination, since, until))

    async def waiting_count(self, destination: str, limit: int) -> int:
        """See Store.waiting_count."""
        return await self._read(lambda c: claiming.waiting_count(c, destination, limit))

    # -- changing deliveries ---------------------------------------------------------------------

    async def request_retry(self, tenant: str, delivery_id: str, now: int) -> Delivery | None:
        """See Store.request_retry."""
        return await self._write(lambda c: changing.request_retry(c, tenant, delivery_id, now))

    async def cancel(self, tenant: str, delivery_id: str, reason: str, now: int) -> Delivery | None:
        """See Store.cancel."""
        return await self._write(lambda c: changing.cancel(c, tenant, delivery_id, reason, now))

    async def cancel_lane(self, destination: str, reason: str, limit: int, now: int) -> int:
        """See Store.cancel_lane."""
        return await self._write(lambda c: changing.cancel_lane(c, destination, reason, limit, now))

    async def replay(self, tenant: str, event_id: str, targets: Sequence[Target], now: int) -> int:
        """See Store.replay."""
        return await self._write(lambda c: changing.replay(c, tenant, event_id, targets, now, self._owner))

    # -- configuration ---------------------------------------------------------------------------

    async def load_config(self) -> list[ConfigRow]:
        """See Store.load_config."""
        return await self._read(reading.load_config)

    async def save_config(self, row: ConfigRow, audit: AuditEntry | None) -> bool:
        """See Store.save_config."""
        return await self._write(lambda c: changing.save_config(c, row, audit))

    async def delete_config(self, kind: str, tenant: str, row_id: str, audit: AuditEntry | None) -> bool:
        """See Store.delete_config."""
        return await self._write(lambda c: changing.delete_config(c, kind, tenant, row_id, audit))

    async def append_audit(self, entry: AuditEntry) -> None:
        """See Store.append_audit."""
        await self._write(lambda c: changing.append_audit(c, entry))

    async def list_audit(self, tenant: str, limit: int, before_id: str | None) -> list[AuditEntry]:
        """See Store.list_audit."""
        return await self._read(lambda c: reading.list_audit(c, tenant, limit, before_id))

    async def load_lane_health(self) -> list[LaneHealth]:
        """See Store.load_lane_health."""
        return await self._read(reading.load_lane_health)

    async def save_lane_health(self, health: LaneHealth) -> None:
        """See Store.save_lane_health."""
        await self._write(lambda c: hot.save_health(c, health))

    # -- jobs and upkeep -------------------------------------------------------------------------

    async def create_replay(self, job: ReplayJob, now: int) -> ReplayJob:
        """See Store.create_replay."""
        last = new_id("dlv", now)  # later deliveries are none of its business
        count = await self._read(lambda c: replaying.count_candidates(c, job, last))
        return await self._write(lambda c: replaying.create_replay(c, job, last, count))

    async def step_replays(self, limit: int, now: int) -> list[ReplayJob]:
        """See Store.step_replays."""
        return await self._write(lambda c: replaying.step_replays(c, limit, now, self._owner))

    async def step_fanouts(self, limit: int, now: int) -> list[str]:
        """See Store.step_fanouts."""
        return await self._write(lambda c: changing.step_fanouts(c, limit, now, self._owner))

    async def prune(self, tenant: str, before: int, limit: int, now: int) -> Pruned:
        """See Store.prune."""
        return await self._write(lambda c: changing.prune(c, tenant, before, limit, now))

    # -- inside ----------------------------------------------------------------------------------

    async def _write(self, function: Callable[[sqlite3.Connection], T], now: int = 0, *, quick: bool = False) -> T:
        unit = self._writer.call(function, now, quick=quick)
        try:
            result: T = await unit.future
        except asyncio.CancelledError:
            self._writer.abandon(unit)
            raise
        return result

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            detail = "the store is closed"
            raise Unavailable(detail)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._on_reader, function)

    def _on_reader(self, function: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
                self._opened.append(connection)
            return function(connection)
        except sqlite3.Error as error:
            raise translate(error) from error

    def _open(self) -> None:
        self._lock = _lock(self._path)
        try:
            connection = self._connect()
            try:
                migrate(connection)
                ordering.reclaim(connection, self._clock.now())
            finally:
                connection.close()
        except sqlite3.Error as error:
            self._unlock()
            raise _refusal(error, self._path) from error
        except BaseException:
            self._unlock()
            raise

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _connect(self, timeout_s: float = 5) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
            timeout=timeout_s,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {WAL_PAGES_PER_CHECKPOINT}",
            f"journal_size_limit = {WAL_BYTES_KEPT}",
            "temp_store = MEMORY",
            "cache_size = -16000",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if self._pages_max is not None:
            connection.execute(f"PRAGMA max_page_count = {self._pages_max}")


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the file to the newest schema, each step in a transaction; returns its version.

    Raises OrderwireError where a newer Orderwire wrote the file.
    """
    steps = sorted(
        (entry.name, entry.read_text("utf-8"))
        for entry in files("orderwire.store").joinpath("migrations/sqlite").iterdir()
        if entry.name.endswith(".sql")
    )
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(steps):
        detail = f"the database has schema {version}, this program knows {len(steps)}: start a newer orderwire"
        raise OrderwireError(detail)
    for number, (_, script) in enumerate(steps[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
    return len(steps)


def backup(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copy a database in use, consistently. `progress(done, total)` in pages. Raises Conflict, Unavailable."""
    if target.exists():
        raise Conflict(f"{target} exists; name a new file")
    if not target.parent.is_dir():
        raise OrderwireError(f"there is no folder {target.parent}")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        partial.touch(0o600)  # before a byte of payload is in it
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            # one read transaction for the whole copy: a busy writer would make a stepwise copy start over for ever
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM config").fetchone()
            with closing(sqlite3.connect(partial)) as writer:
                reader.backup(
                    writer,
                    pages=BACKUP_PAGES_PER_STEP,
                    progress=lambda _, left, total: progress(total - left, total),
                )
        partial.rename(target)
    except sqlite3.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise OrderwireError(f"cannot write {target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _probe(connection: sqlite3.Connection) -> None:
    """A write that needs room, undone in the same transaction."""
    connection.execute(
        "INSERT INTO raws (event_id, tenant, content_type, headers, body) VALUES ('', '', '', '', zeroblob(?))",
        (PROBE_BYTES,),
    )
    connection.execute("DELETE FROM raws WHERE event_id = ''")


def _lock(path: Path) -> IO[bytes]:
    """The folder for this process alone, and the file only for its owner: payloads are in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(0o600)
        handle: Any = path.with_suffix(".lock").open("ab")
    except OSError as error:
        raise OrderwireError(f"cannot keep data in {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        detail = (
            f"another orderwire process uses {path.parent}, which is for one process at a time:"
            " stop it, or give this one its own --data"
        )
        raise OrderwireError(detail) from error
    locked: IO[bytes] = handle
    return locked


def _refusal(error: sqlite3.Error, path: Path) -> Exception:
    """Why it does not open, for a person."""
    translated = translate(error)
    if isinstance(translated, OrderwireError):
        return translated
    return OrderwireError(f"{path} does not open as an Orderwire database: {error}")
