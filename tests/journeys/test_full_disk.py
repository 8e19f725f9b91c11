"""A disk with no room left: said plainly, nothing that was answered 2xx is lost, and it goes on by itself after."""

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.load import Load
from tests.kit.node import Node
from tests.kit.receiver import Reply
from tests.kit.shop import Shop, came, opened, quiet, until

SEED = 20_261_123
UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as running:
        yield running
        allow_files_of(running, UNLIMITED)
        assert not running.unforeseen(), running.tail


def allow_files_of(node: Node, bytes_max: int) -> None:
    """Let no file of the running node grow beyond: its writes then fail as on a full disk, with an OSError."""
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (bytes_max, UNLIMITED))


def largest_file_bytes(node: Node) -> int:
    return max(path.stat().st_size for path in node.data.iterdir())


async def test_a_full_disk_answers_503_loses_nothing_it_took_and_recovers_by_itself(node: Node) -> None:
    async with opened(node) as shop:
        endpoint = await shop.subscribe(lambda _: Reply(after_s=0.01))
        async with Load(shop, SEED, publishers=4, pad_bytes=2000).running() as load:
            await came(endpoint, 20)
            allow_files_of(node, largest_file_bytes(node) + 200_000)
            await _refuses(load)
            await asyncio.sleep(0.5)
            assert (await shop.api.call("GET", "/healthz")).status == 200
            shown = await shop.api.call("GET", "/v1/events")
            assert shown.status == 200  # what is there can be read
            accepted = len(load.accepted)
            allow_files_of(node, UNLIMITED)

            async def takes_again() -> bool:
                return len(load.accepted) > accepted + 20

            await until(takes_again, 20)
        await shop.settled()
        assert load.refused > 0
        await _nothing_is_lost(shop, load, set(endpoint.ids))
        assert node.integrity() == "ok"


async def test_outcomes_that_the_full_disk_could_not_take_are_written_later(node: Node) -> None:
    async with opened(node) as shop:
        answer_now = asyncio.Event()

        async def wait(writer: asyncio.StreamWriter) -> None:
            await answer_now.wait()
            writer.write(Reply().encode())
            await writer.drain()

        endpoint = await shop.subscribe(lambda _: wait, concurrency=50)
        ids = await shop.publish_all({"data": {"n": n}} for n in range(50))
        await came(endpoint, len(ids))
        allow_files_of(node, 4096)
        answer = await shop.api.call("POST", "/v1/events", {"type": "order.created", "data": "x" * 10_000})
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "full" in answer.json["detail"] or "disk" in answer.json["detail"]
        answer_now.set()
        await quiet(endpoint, 0.5)
        allow_files_of(node, UNLIMITED)
        await shop.settled(20)
        assert await shop.statuses() == {"delivered": len(ids)}
        assert sorted(endpoint.ids) == sorted(ids)  # delivered once: what happened was kept in memory meanwhile


async def test_a_node_killed_on_a_full_disk_has_lost_nothing_it_took(node: Node) -> None:
    async with opened(node) as shop:
        endpoint = await shop.subscribe(lambda _: Reply(after_s=0.01))
        async with Load(shop, SEED, publishers=4, pad_bytes=2000).running() as load:
            await came(endpoint, 20)
            allow_files_of(node, largest_file_bytes(node) + 100_000)
            await _refuses(load)
            node.kill()
        await asyncio.to_thread(node.start)
        await shop.settled()
        await _nothing_is_lost(shop, load, set(endpoint.ids))
        assert node.integrity() == "ok"


async def _refuses(load: Load) -> None:
    async def look() -> bool:
        return load.refused > 5

    await until(look, 30)


async def _nothing_is_lost(shop: Shop, load: Load, received: set[str]) -> None:
    missing = set(load.accepted.values()) - received
    assert not missing, f"{len(missing)} of {len(load.accepted)} accepted events never came"
    kept = {event["id"] for event in await shop.api.every("/v1/events")}
    assert set(load.accepted.values()) <= kept
