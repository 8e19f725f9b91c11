"""A real file system without room: a small tmpfs, grown three times, with a kill -9 on the full disk between."""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from tests.chaos.scenario import Run, Skipped
from tests.kit.load import Load, hold_sums
from tests.kit.node import Node
from tests.kit.receiver import Reply
from tests.kit.shop import opened, until

SIZES_MIB = (12, 20, 28)
LAST_MIB = 256
PAD_BYTES = 4000
FULL_S = 3.0


async def run(run: Run) -> None:
    """Full: 503 with Retry-After. Nothing answered 2xx is lost, and with room again it goes on by itself."""
    data = run.folder / "disk"
    with _tmpfs(data, SIZES_MIB[0]), Node(run.folder, data=data / "data") as node:
        async with opened(node) as shop:
            endpoint = await shop.subscribe(lambda _: Reply(after_s=0.005), concurrency=40)
            async with Load(shop, run.seed, publishers=4, pad_bytes=PAD_BYTES).running() as load:
                for number, size_mib in enumerate(SIZES_MIB):
                    _resize(data, size_mib)
                    refused = load.refused
                    await until(_more_refused(load, refused + 20), 60)
                    await asyncio.sleep(FULL_S)
                    assert (await shop.api.call("GET", "/v1/events")).status == 200, "what is there can be read"
                    if number == 1:
                        node.kill()
                        _resize(data, size_mib + 4)  # a start writes too
                        await asyncio.to_thread(node.start)
                accepted = len(load.accepted)
                _resize(data, LAST_MIB)
                await until(_more_accepted(load, accepted + 50), 30)
            await shop.settled(120)
            run.note(
                fillings=len(SIZES_MIB),
                accepted=len(load.accepted),
                refused_503=load.refused,
                received=len(set(endpoint.ids)),
                repeats=endpoint.repeats,
            )
            hold_sums(load, endpoint)
        assert node.integrity() == "ok", "the database opens clean"
        assert not node.unforeseen(), node.tail


def _more_refused(load: Load, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return load.refused >= count

    return look


def _more_accepted(load: Load, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(load.accepted) >= count

    return look


@contextlib.contextmanager
def _tmpfs(folder: Path, size_mib: int) -> Iterator[None]:
    folder.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", f"size={size_mib}m", "orderwire-chaos", str(folder))
    if mounted.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _resize(folder: Path, size_mib: int) -> None:
    assert _mount("-o", f"remount,size={size_mib}m", str(folder)).returncode == 0


def _mount(*words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise Skipped("there is no program `mount` here") from None
