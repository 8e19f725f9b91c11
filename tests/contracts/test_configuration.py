"""Configuration, the audit log, and what lanes remember."""

import asyncio

import msgspec
import pytest

from orderwire.ids import new_id
from orderwire.model import LaneHealth
from orderwire.store.base import AuditEntry, ConfigRow
from tests.contracts.kit import Kit


def row(id: str = "dst_1", version: int = 1, **more: str | bytes) -> ConfigRow:
    fields = {"kind": "destination", "tenant": "default", "id": id, "body": b'{"a": 1.10}', "version": version} | more
    return msgspec.convert(fields, ConfigRow)


def entry(kit: Kit, action: str = "destination.create", tenant: str = "default") -> AuditEntry:
    return AuditEntry(
        id=new_id("aud", kit.now), tenant=tenant, at=kit.now, actor="key_1", action=action, resource="dst_1", detail="d"
    )


async def test_what_is_saved_is_loaded_after_a_restart(kit: Kit) -> None:
    rows = [row("dst_1"), row("dst_2"), row("dst_1", tenant="other"), row("dst_1", kind="source")]
    for one in rows:
        assert await kit.store.save_config(one, None)
    await kit.reopen()
    loaded = await kit.store.load_config()
    assert sorted(loaded, key=repr) == sorted(rows, key=repr)


async def test_a_write_names_the_version_it_read(kit: Kit) -> None:
    assert await kit.store.save_config(row(version=1), None)
    assert not await kit.store.save_config(row(version=1), None)
    assert not await kit.store.save_config(row(version=3), None)
    assert await kit.store.save_config(row(version=2, body=b"{}"), None)
    assert not await kit.store.save_config(row(version=2), None)
    assert await kit.store.load_config() == [row(version=2, body=b"{}")]


async def test_a_row_that_is_not_there_cannot_be_changed(kit: Kit) -> None:
    assert not await kit.store.save_config(row(version=2), None)
    assert await kit.store.load_config() == []


async def test_of_many_racing_writers_one_wins(kit: Kit) -> None:
    await kit.store.save_config(row(), None)
    writes = [kit.store.save_config(row(version=2, body=b"%d" % number), entry(kit)) for number in range(20)]
    assert sorted(await asyncio.gather(*writes)) == [False] * 19 + [True]
    assert len(await kit.store.list_audit("default", 100, None)) == 1


async def test_a_deleted_row_is_gone_and_may_be_made_again(kit: Kit) -> None:
    await kit.store.save_config(row(), None)
    assert not await kit.store.delete_config("destination", "other", "dst_1", entry(kit))
    assert await kit.store.delete_config("destination", "default", "dst_1", entry(kit))
    assert not await kit.store.delete_config("destination", "default", "dst_1", entry(kit))
    assert await kit.store.load_config() == []
    assert len(await kit.store.list_audit("default", 100, None)) == 1
    assert await kit.store.save_config(row(), None)


async def test_the_audit_tells_of_a_change_that_was_made_and_not_of_a_lost_race(kit: Kit) -> None:
    made, lost = entry(kit), entry(kit)
    await kit.store.save_config(row(), made)
    await kit.store.save_config(row(), lost)
    assert await kit.store.list_audit("default", 10, None) == [made]


async def test_the_audit_is_listed_newest_first_in_pages(kit: Kit) -> None:
    entries = [entry(kit, f"act.{number}") for number in range(7)]
    for one in entries:
        await kit.store.append_audit(one)
    await kit.store.append_audit(entry(kit, tenant="other"))
    seen: list[AuditEntry] = []
    before: str | None = None
    while page := await kit.store.list_audit("default", 3, before):
        seen += page
        before = page[-1].id
    assert seen == entries[::-1]


async def test_an_audit_entry_that_cannot_be_stored_undoes_its_change(kit: Kit) -> None:
    bad = msgspec.structs.replace(entry(kit), detail="\ud800")
    with pytest.raises(UnicodeError):
        await kit.store.save_config(row(), bad)
    assert await kit.store.load_config() == []


async def test_what_a_lane_remembers_is_overwritten_and_survives_a_restart(kit: Kit) -> None:
    health = LaneHealth(
        destination="dst_1", failing_since=3, consecutive_failures=4, breaker_open=True, hold_until=kit.now
    )
    await kit.store.save_lane_health(LaneHealth(destination="dst_1"))
    await kit.store.save_lane_health(health)
    await kit.store.save_lane_health(LaneHealth(destination="dst_2"))
    await kit.reopen()
    remembered = {one.destination: one for one in await kit.store.load_lane_health()}
    assert remembered == {"dst_1": health, "dst_2": LaneHealth(destination="dst_2")}
