"""What only the SQLite engine is asked: plans, a full disk, other programs' locks, and a writer that never gives up."""

import asyncio
import itertools
import re
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orderwire.clock import DAY
from orderwire.errors import OrderwireError, Unavailable
from orderwire.model import DeliveryStatus, LaneHealth
from orderwire.store.base import AuditEntry, ConfigRow, DeliveryQuery, EventQuery, Pruned
from orderwire.store.sqlite import SqliteStore
from orderwire.store.sqlite import writer as writing
from orderwire.store.sqlite.store import migrate
from tests.contracts.engines import ENGINES
from tests.contracts.kit import LANE, Kit, ids

FAILED, RETRYING = DeliveryStatus.FAILED, DeliveryStatus.RETRYING


@pytest.fixture
async def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    monkeypatch.setattr("orderwire.ids._last_us", 0)
    made = Kit(ENGINES["sqlite"], str(tmp_path / "orderwire.db"))
    await made.store.open()
    yield made
    await made.store.close()


def sqlite_of(kit: Kit) -> SqliteStore:
    assert isinstance(kit.store, SqliteStore)
    return kit.store


async def reopen_with(kit: Kit, pages_max: int | None) -> None:
    await kit.store.close()
    kit.store = SqliteStore(Path(kit.place), kit.clock, pages_max=pages_max)
    await kit.store.open()


# -- plans ---------------------------------------------------------------------------------------

LARGE = ("events", "deliveries", "attempts", "keys", "raws", "lane_subjects", "lane_stats", "audit")
ALIASES = {"e": "events", "d": "deliveries", "m": "deliveries", "n": "deliveries", "h": "deliveries", "k": "keys"}
ALIASES |= {"a": "attempts", "s": "lane_subjects"}
# A small table (config, health, open replays), or one step into an index and out again.
MAY_SCAN = {"deliveries_due", "deliveries_manual", "deliveries_owned", "replays_open"}


class Watched(sqlite3.Connection):
    """Explains every statement it is given, once."""

    plans: dict[str, list[str]]
    explaining = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.split(None, 1)[0] in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE") and sql not in self.plans:
            explained = super().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            self.plans[sql] = [row[3] for row in explained]
        return super().execute(sql, parameters)


@pytest.fixture
async def plans(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every statement that a day in the life of a store runs, with its plan."""
    seen: dict[str, list[str]] = {}
    monkeypatch.setattr(Watched, "plans", seen, raising=False)
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda *args, **more: connect(*args, **more, factory=Watched))
    await kit.reopen()
    await a_day(kit)
    return seen


async def a_day(kit: Kit) -> None:
    """Every verb of the seam."""
    store = kit.store
    for number in range(6):
        event = kit.event(id=f"k-{number}", idem=f"i-{number}", subject=f"order/{number % 2}")
        await kit.put(event, LANE, "dst_b", ordered=number < 4, owned=number % 2 == 0)
    await kit.accept(kit.item(kit.event(id="k-0", idem="i-0", subject="order/0")))
    await kit.put(kit.event(subject="order/9"), LANE)
    works = await kit.claim()
    await kit.finish(works[:1], FAILED, hold=True, health=LaneHealth(destination=LANE))
    await kit.finish(works[1:2], RETRYING, due_s=60)
    await store.release(works[2:], kit.now)
    await store.request_retry("default", works[0].delivery_id, kit.now)
    await store.cancel("default", works[0].delivery_id, "x", kit.now)
    await kit.claim(limit=1)
    await store.due_lanes()
    await store.waiting_count(LANE, 100)
    await store.replay("default", works[0].event.id, [kit.target(ordered=True)], kit.now)
    await store.create_replay(kit.job(types=("order.*", "x")), kit.now)
    await kit.replayed()
    await store.step_fanouts(10, kit.now)
    await store.get_raw("default", works[0].event.id)
    await store.get_event("default", "k-1")
    await store.list_attempts("default", works[0].delivery_id, 10, None)
    await store.lane_stats(LANE, 0, kit.now)
    await store.save_config(ConfigRow(kind="k", tenant="t", id="i", body=b"", version=1), None)
    await store.load_config()
    await store.append_audit(AuditEntry(id="aud_1", tenant="default", at=1, actor="k", action="a", resource="r"))
    await store.list_audit("default", 10, None)
    await store.load_lane_health()
    await store.ping()
    for filters in every_of({"type": "order.*", "source": "s", "status": FAILED, "subject": "order/1"}):
        for text in (None, "k-1", "order/1", "total"):
            await store.list_events(EventQuery(tenant="default", since=0, until=kit.now + 1, text=text, **filters))
    for filters in every_of({"event": "k-1", "destination": LANE, "status": FAILED, "type": "order.*"}):
        await store.list_deliveries(DeliveryQuery(tenant="default", before_id="dlv_x", **filters))
    await store.list_deliveries(DeliveryQuery(tenant="default", status=RETRYING))
    await store.cancel_lane(LANE, "deleted", 5, kit.now)
    kit.clock.advance(31 * 86_400)
    await kit.reopen()
    while (await kit.store.prune("default", kit.now - 30 * DAY, 100, kit.now)).more:
        pass


def every_of(filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every choice of them."""
    for count in range(len(filters) + 1):
        for names in itertools.combinations(filters, count):
            yield {name: filters[name] for name in names}


async def test_no_statement_reads_a_large_table_from_end_to_end(plans: dict[str, list[str]]) -> None:
    assert len(plans) > 80
    bad = []
    for sql, plan in plans.items():
        for step in plan:
            scanned = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
            if scanned is None:
                continue
            table, index = ALIASES.get(scanned[1], scanned[1]), scanned[2]
            if table in LARGE and index not in MAY_SCAN:
                bad.append(f"{step}: {sql}")
    assert not bad, "\n".join(bad)


async def test_no_list_sorts_what_an_index_has_in_order(plans: dict[str, list[str]]) -> None:
    few = "e.id IN ("  # the events that a search named
    lists = {sql: plan for sql, plan in plans.items() if few not in sql}
    bad = [f"{step}: {sql}" for sql, plan in lists.items() for step in plan if sorts(step)]
    assert not bad, "\n".join(bad)


def sorts(step: str) -> bool:
    return re.search("TEMP B-TREE FOR .*ORDER BY", step) is not None


async def test_every_index_of_the_schema_serves_a_statement(plans: dict[str, list[str]], kit: Kit) -> None:
    with closing(sqlite3.connect(kit.place)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        indexes = {row[0] for row in rows}
    used = {word for plan in plans.values() for step in plan for word in step.split()}
    assert indexes <= used


@pytest.mark.parametrize(
    ("says", "index"),
    [
        ("SELECT d.tenant, d.id, d.subject FROM deliveries d", "deliveries_manual"),
        ("SELECT d.tenant, d.id FROM deliveries d INDEXED BY deliveries_due", "deliveries_manual"),
        ("SELECT d.due_at FROM deliveries d", "deliveries_due"),
        ("WITH RECURSIVE lanes", "deliveries_due"),
        ("SELECT tenant, id FROM deliveries INDEXED BY deliveries_order", "deliveries_order"),
        ("UPDATE deliveries INDEXED BY deliveries_owned", "deliveries_owned"),
        ("SELECT count(*) FROM deliveries d INDEXED BY deliveries_destination", "deliveries_event"),
        ("SELECT e.id, (SELECT count(*)", "events_tenant"),
        ("DELETE FROM keys WHERE (tenant, scope, key_hash)", "keys_expiry"),
        ("DELETE FROM keys WHERE event_id", "keys_event"),
        ("UPDATE replays INDEXED BY", "replays_open"),
    ],
)
async def test_a_statement_uses_the_index_the_schema_names(plans: dict[str, list[str]], says: str, index: str) -> None:
    found = [plan for sql, plan in plans.items() if sql.startswith(says)]
    assert found
    assert all(any(index in step.split() for step in plan) for plan in found)


# -- a full disk ---------------------------------------------------------------------------------


async def test_a_full_disk_answers_unavailable_loses_nothing_and_recovers(kit: Kit) -> None:
    await reopen_with(kit, 120)
    kept: list[str] = []
    refused = 0
    for number in range(60):
        event = kit.event(id=f"k-{number}", data=b'"%s"' % (b"y" * 20_000))
        try:
            await kit.accept(kit.item(event, LANE))
            kept.append(f"k-{number}")
        except Unavailable:
            refused += 1
    assert kept
    assert refused > 10
    with pytest.raises(Unavailable):
        await kit.store.ping()
    assert sorted(event.public_id for event in await kit.events()) == sorted(kept)
    await reopen_with(kit, None)
    await kit.store.ping()
    assert sorted(event.public_id for event in await kit.events()) == sorted(kept)
    assert len(await kit.claim()) == len(kept)
    await kit.put(kit.event(id="after"))


async def test_on_a_full_disk_what_still_fits_is_written_beside_what_does_not(kit: Kit) -> None:
    await reopen_with(kit, 120)
    small = [kit.event(id=f"small-{number}") for number in range(5)]
    large = kit.event(id="large", data=b'"%s"' % (b"y" * 1_000_000))
    events = [*small[:3], large, *small[3:]]
    answers = await asyncio.gather(*[kit.accept(kit.item(event)) for event in events], return_exceptions=True)
    assert [isinstance(answer, Unavailable) for answer in answers] == [event is large for event in events]
    assert len(await kit.events()) == 5


async def test_old_data_can_leave_a_full_disk_while_publishers_keep_knocking(kit: Kit) -> None:
    await reopen_with(kit, 200)
    large = b'"%s"' % (b"y" * 50_000)
    try:
        while True:
            await kit.accept(kit.item(kit.event(data=large)))
    except Unavailable:
        pass
    kit.clock.advance(31 * 86_400)
    calls = [kit.accept(kit.item(kit.event(data=large * 40))) for _ in range(8)]
    prune = kit.store.prune("default", kit.now - 30 * DAY, 2, kit.now)
    *knocking, step = await asyncio.gather(*calls, prune, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in knocking)
    assert step == Pruned(events=2, more=True)
    await kit.accept(kit.item(kit.event(data=large)))


# -- other programs ------------------------------------------------------------------------------


async def test_another_programs_lock_answers_unavailable_at_once_and_the_loop_lives_on(kit: Kit) -> None:
    with closing(sqlite3.connect(kit.place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with asyncio.timeout(2):
            calls = [kit.accept(kit.item(kit.event(id=f"k-{n}"), LANE)) for n in range(100)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert ticks
        ticking.cancel()
        with pytest.raises(Unavailable):
            await kit.claim()
        assert await kit.events() == []  # reading goes on
        other.execute("ROLLBACK")
    await kit.put(kit.event(id="k-1"))


async def test_a_reader_that_stays_does_not_hold_the_writer_up(kit: Kit) -> None:
    with closing(sqlite3.connect(kit.place, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM events").fetchone()
        await kit.put_many(50)
        assert other.execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert len(await kit.events()) == 50


# -- the writer ----------------------------------------------------------------------------------


class Broken(sqlite3.Connection):
    """Fails where it is told to, as a disk would."""

    faults: dict[str, list[Exception]]  # how a statement begins -> what its next runs raise

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        for text, errors in self.faults.items():
            if sql.startswith(text) and errors:
                raise errors.pop()
        return super().execute(sql, parameters)


@pytest.fixture
async def faults(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Exception]]:
    """Nothing fails yet; what is put in fails the connections of `kit`."""
    told: dict[str, list[Exception]] = {}
    monkeypatch.setattr(Broken, "faults", told, raising=False)
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda *args, **more: connect(*args, **more, factory=Broken))
    await kit.reopen()
    return told


async def test_a_commit_and_its_rollback_may_both_fail_and_writing_goes_on(
    kit: Kit, faults: dict[str, list[Exception]]
) -> None:
    faults |= {text: [sqlite3.OperationalError("disk I/O error")] for text in ("COMMIT", "ROLLBACK")}
    with pytest.raises(sqlite3.OperationalError):
        await kit.put(kit.event(id="k-1"))
    assert faults == {"COMMIT": [], "ROLLBACK": []}
    await kit.put(kit.event(id="k-2"))
    assert [event.public_id for event in await kit.events()] == ["k-2"]


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("a bug"), ValueError("embedded null")])
async def test_an_error_that_is_not_sqlites_reaches_the_caller_and_writing_goes_on(
    kit: Kit, faults: dict[str, list[Exception]], error: Exception
) -> None:
    faults["INSERT INTO events"] = [error]
    with pytest.raises(type(error)):
        await kit.put()
    await kit.put()
    assert len(await kit.events()) == 1


async def test_a_verb_that_fails_midway_leaves_nothing_and_harms_none_of_its_group(
    kit: Kit, faults: dict[str, list[Exception]]
) -> None:
    faults["INSERT INTO audit"] = [RuntimeError("a bug") for _ in range(99)]
    entry = AuditEntry(id="aud_1", tenant="default", at=1, actor="k", action="a", resource="r")
    row = ConfigRow(kind="k", tenant="t", id="i", body=b"", version=1)
    calls = [kit.put() for _ in range(5)]
    saved, *rest = await asyncio.gather(kit.store.save_config(row, entry), *calls, return_exceptions=True)
    assert isinstance(saved, RuntimeError)
    assert all(isinstance(answer, str) for answer in rest)
    assert await kit.store.load_config() == []
    assert len(await kit.events()) == 5


async def test_a_disk_that_does_not_write_answers_everybody_at_once(
    kit: Kit, faults: dict[str, list[Exception]]
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE  # type: ignore[misc, unused-ignore]
    faults["COMMIT"] = [error]
    answers = await asyncio.gather(*[kit.put() for _ in range(100)], return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 100
    assert len(set(map(id, answers))) == 100  # each its own: a traceback grows where it is raised
    await kit.put()


async def test_calls_that_come_together_share_a_commit(kit: Kit) -> None:
    store = sqlite_of(kit)
    before = store.commits
    await asyncio.gather(*[kit.put() for _ in range(200)])
    assert store.commits - before <= 3
    assert store.depth == 0


async def test_one_transaction_is_bounded_in_rows_and_bytes(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROWS_PER_COMMIT_MAX", 10)
    monkeypatch.setattr(writing, "BYTES_PER_COMMIT_MAX", 10_000)
    store = sqlite_of(kit)
    for size, commits in ((2, 7), (6_000, 30)):
        before = store.commits
        items = [kit.item(kit.event(data=b'"%s"' % (b"y" * size)), LANE) for _ in range(60)]
        await asyncio.gather(*[kit.accept(*items[start : start + 2]) for start in range(0, 60, 2)])
        assert store.commits - before >= commits - 1
    assert len(await kit.events()) == 120
    await kit.put_many(50)  # one call larger than that is still one transaction


async def test_a_claim_whose_caller_went_away_is_given_up(kit: Kit) -> None:
    every = await kit.put_many(5)
    call = asyncio.create_task(kit.claim())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await kit.store.ping()
    await kit.store.ping()
    assert ids(await kit.claim()) == every


@pytest.mark.parametrize("turns", range(8))
async def test_an_accept_is_given_up_whenever_its_caller_goes_away(kit: Kit, turns: int) -> None:
    """At any point between the call and its answer, the answer already on its way included."""
    call = asyncio.create_task(kit.put(None, LANE, owned=True))
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01 * (turns % 4))
    gone = call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await kit.store.ping()
    await kit.store.ping()
    kept = [one.id for one in await kit.deliveries()]
    assert ids(await kit.claim()) == (kept if gone else [])


async def test_an_answer_that_was_on_its_way_when_the_caller_went_away_is_given_up(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = sqlite_of(kit)._writer
    item = kit.item(None, LANE, owned=True)
    resolve = writer._resolve

    def resolve_and_cancel(units: list[writing.Unit]) -> None:
        resolve(units)
        call.cancel()  # the answer is there, but its caller has not run yet

    monkeypatch.setattr(writer, "_resolve", resolve_and_cancel)
    call = asyncio.create_task(kit.accept(item))
    with pytest.raises(asyncio.CancelledError):
        await call
    monkeypatch.undo()
    await kit.store.ping()
    assert ids(await kit.claim()) == [item.targets[0].delivery_id]


# -- files ---------------------------------------------------------------------------------------


async def test_only_its_owner_reads_the_file(tmp_path: Path, kit: Kit) -> None:
    await kit.put()
    for path in (tmp_path / "orderwire.db", tmp_path / "orderwire.db-wal"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, kit: Kit) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = SqliteStore(tmp_path / "file" / "orderwire.db", kit.clock)
    with pytest.raises(OrderwireError, match="file"):
        await store.open()
    await store.close()


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path, kit: Kit) -> None:
    (tmp_path / "x").mkdir()
    path = tmp_path / "x" / "orderwire.db"
    path.write_bytes(b"this is a text, and a long one at that" * 100)
    store = SqliteStore(path, kit.clock)
    with pytest.raises(OrderwireError, match=re.escape(str(path))):
        await store.open()
    path.unlink()
    await store.open()  # nothing is left locked
    await store.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orderwire.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE audit (x)")  # in the way of the first step
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection)
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
        assert tables == ["audit"]
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


async def test_a_copy_is_written_for_its_owner_alone_and_leaves_no_rest(tmp_path: Path, kit: Kit) -> None:
    await kit.put_many(10)
    folder = tmp_path / "copies"
    folder.mkdir()
    await kit.store.backup(folder / "copy.db", lambda *_: None)
    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(folder / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_order_leaves_nothing_behind_when_nothing_waits(kit: Kit) -> None:
    """Subjects are as many as orders: their rows go with their last unfinished delivery."""
    for number in range(20):
        await kit.put(kit.event(subject=f"order/{number % 7}"), LANE, ordered=True)
    while works := await kit.claim():
        await kit.finish(works)
    with closing(sqlite3.connect(kit.place)) as connection:
        assert connection.execute("SELECT count(*) FROM lane_subjects").fetchone() == (0,)
