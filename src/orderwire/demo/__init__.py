"""`orderwire demo`: a day in a shop on a node of its own, and a table at the end that adds up.

Needs nothing and leaves nothing behind. Read `run.py` first.
"""

import asyncio
import sys

EVENTS = 300


def main(*, exit_when_done: bool = False, events: int = EVENTS) -> int:
    """Play about `events` events. Returns the exit code: 0 only where every sum holds.

    Stays up afterwards where both standard input and output are a terminal, unless `exit_when_done`.
    """
    from orderwire.demo.run import Demo  # noqa: PLC0415 - `orderwire demo --help` needs none of it

    stay = not exit_when_done and sys.stdin.isatty() and sys.stdout.isatty()

    async def run() -> int:
        return await Demo(events, stay=stay).run()

    return asyncio.run(run())
