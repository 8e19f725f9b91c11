"""All hostile receivers in a process of their own: what they do to themselves is not to be taken for the node's doing.

Prints `{name: url}` as one JSON line and serves until its input ends.
"""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

from tests.kit.hostile import HOSTILE
from tests.kit.receiver import Receiver


@contextlib.asynccontextmanager
async def crowd() -> AsyncIterator[dict[str, str]]:
    """Start it; each one's URL."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def _serve() -> None:
    async with Receiver() as receiver:
        urls = {name: receiver.endpoint(behaviour).url for name, (behaviour, _) in HOSTILE.items()}
        print(json.dumps(urls), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
