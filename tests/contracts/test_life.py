"""A store's life: open, close, open again after whatever happened, and copies of it while it runs."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orderwire.errors import OrderwireError, Unavailable
from orderwire.model import DeliveryStatus
from tests.contracts.engines import ENGINES, Engine
from tests.contracts.kit import Kit, ids

# What only some engines promise is asked of those alone.
ONE_PROCESS = [name for name, engine in ENGINES.items() if engine.one_process]
COPIED_TO_A_FILE = [name for name, engine in ENGINES.items() if engine.copies_to_a_file]

KILLED_AFTER_LINES = 200
ROOT = Path(__file__).parent.parent.parent


async def test_everything_is_there_after_a_restart(kit: Kit) -> None:
    await kit.put(kit.event(id="mine", subject="order/1"))
    await kit.finish(await kit.claim(), DeliveryStatus.RETRYING, due_s=60)
    before = await kit.events(), await kit.deliveries(), await kit.store.due_lanes()
    await kit.reopen()
    assert (await kit.events(), await kit.deliveries(), await kit.store.due_lanes()) == before


async def test_what_a_former_process_had_in_hand_can_be_claimed_at_once(kit: Kit) -> None:
    owned = await kit.put_many(3, owned=True)
    claimed = await kit.put_many(3)
    assert ids(await kit.claim()) == claimed
    await kit.reopen()
    assert sorted(ids(await kit.claim())) == sorted(owned + claimed)


async def test_a_retry_in_hand_keeps_its_schedule_over_a_restart(kit: Kit) -> None:
    await kit.put()
    await kit.finish(await kit.claim(), DeliveryStatus.RETRYING, due_s=60)
    (waiting,) = await kit.deliveries()
    await kit.store.request_retry("default", waiting.id, kit.now)
    await kit.claim()
    await kit.reopen()
    (work,) = await kit.claim()
    assert (work.manual, work.due_at, work.scheduled_count) == (True, waiting.next_attempt_at, 1)


async def test_the_end_of_an_attempt_of_a_former_process_changes_nothing(kit: Kit) -> None:
    delivery = await kit.put()
    (work,) = await kit.claim()
    await kit.reopen()
    await kit.finish(work)
    assert (await kit.delivery(delivery)).status is DeliveryStatus.PENDING
    assert ids(await kit.claim()) == [delivery]


async def test_closing_writes_what_was_submitted(kit: Kit) -> None:
    calls = [asyncio.ensure_future(kit.accept(kit.item(kit.event(), "dst_a"))) for _ in range(50)]
    await asyncio.sleep(0)
    await kit.reopen()
    answers = await asyncio.gather(*calls)
    assert {event.id for event in await kit.events()} == {answer.event_id for (answer,) in answers}


async def test_closing_twice_is_as_once_and_a_closed_store_is_unavailable(kit: Kit) -> None:
    await kit.store.close()
    await kit.store.close()
    with pytest.raises(Unavailable):
        await kit.accept(kit.item())
    with pytest.raises(Unavailable):
        await kit.store.load_config()
    with pytest.raises(Unavailable):
        await kit.store.ping()


async def test_a_store_that_was_never_opened_can_be_closed(kit: Kit) -> None:
    await kit.engine.make(kit.place, kit.clock).close()


async def test_ping_is_content_with_an_open_store_and_leaves_no_trace(kit: Kit) -> None:
    await kit.store.ping()
    await kit.store.ping()
    assert await kit.events() == []
    assert await kit.store.load_config() == []


@pytest.mark.parametrize("engine", ONE_PROCESS, indirect=True)
async def test_a_second_open_of_the_same_place_is_refused_by_name(kit: Kit) -> None:
    second = kit.engine.make(kit.place, kit.clock)
    with pytest.raises(OrderwireError) as refused:
        await second.open()
    assert str(Path(kit.place).parent) in refused.value.detail
    await second.close()
    await kit.put()  # and the first goes on
    await kit.store.close()
    await second.open()
    await second.close()


async def test_a_newer_schema_is_refused_and_left_alone(kit: Kit) -> None:
    await kit.put()
    await kit.store.close()
    kit.engine.pretend_newer(kit.place)
    newer = kit.engine.make(kit.place, kit.clock)
    for _ in range(2):
        with pytest.raises(OrderwireError, match="newer"):
            await newer.open()
    await newer.close()


# -- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", COPIED_TO_A_FILE, indirect=True)
async def test_a_backup_while_writing_is_a_consistent_copy_that_opens(kit: Kit, tmp_path: Path) -> None:
    await kit.put_many(2_000)
    stop = False

    async def write() -> int:
        count = 0
        while not stop:
            await kit.accept(*[kit.item(kit.event(id=f"w-{count}-{n}"), "dst_a", "dst_b") for n in range(5)])
            count += 1
        return count

    writing = [asyncio.create_task(write())]
    await asyncio.sleep(0.02)
    told: list[tuple[int, int]] = []
    target = tmp_path / "a copy #1 of 100%.db"
    await kit.store.backup(target, lambda done, total: told.append((done, total)))
    stop = True
    await asyncio.gather(*writing)
    assert told[-1][0] == told[-1][1] > 0
    copy = Kit(kit.engine, str(target))
    await copy.store.open()
    events, deliveries = await copy.events(), await copy.deliveries()
    batches = [event.public_id for event in events if event.public_id.startswith("w-")]
    assert len(events) >= 2_000
    assert len(batches) % 5 == 0
    assert len(deliveries) == 2_000 + 2 * len(batches)
    assert len(await copy.claim("dst_b")) == len(batches)
    await copy.store.close()


@pytest.mark.parametrize("engine", COPIED_TO_A_FILE, indirect=True)
async def test_a_backup_never_overwrites(kit: Kit, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"precious")
    with pytest.raises(OrderwireError):
        await kit.store.backup(target, lambda *_: None)
    assert target.read_bytes() == b"precious"
    with pytest.raises(OrderwireError):
        await kit.store.backup(tmp_path / "no such folder" / "copy.db", lambda *_: None)


# -- kill -9 -------------------------------------------------------------------------------------


def killed_while_accepting(engine: Engine, place: str, round: int) -> list[list[str]]:
    """What a process acknowledged before it was killed in the middle of it."""
    command = [sys.executable, "-m", "tests.contracts.accepting_child", engine.name, place, str(round)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(KILLED_AFTER_LINES * (round + 1))]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().split() for line in lines if line.endswith(b"\n")]


async def test_kill_9_loses_nothing_that_was_acknowledged(kit: Kit) -> None:
    await kit.store.close()
    acknowledged: list[list[str]] = []
    for round in range(3):
        acknowledged += await asyncio.to_thread(killed_while_accepting, kit.engine, kit.place, round)
    kit.store = kit.engine.make(kit.place, kit.clock)
    await kit.store.open()
    assert len(acknowledged) >= 6 * KILLED_AFTER_LINES
    kept = {event.id: event.public_id for event in await kit.events()}
    assert {event: public for event, public, _ in acknowledged}.items() <= kept.items()
    kit.clock.advance(10**9)
    waiting = set()
    while works := await kit.claim():
        waiting |= {work.delivery_id for work in works}
    assert {delivery for *_, delivery in acknowledged} <= waiting
    assert len(waiting) == len(kept)  # an event and its delivery: both or neither
