"""How the benchmark talks with its two helper processes: JSON lines over their standard input and output.

A helper reads its orders line by line, tells its `Status` ten times a second, and when its input ends
writes its log and leaves: so it ends with the benchmark even where that was killed.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Self, TypeVar, cast

import msgspec

STATUS_INTERVAL_S = 0.1
STOP_WAIT_S = 60.0
_LINE_BYTES_MAX = 1 << 20
T = TypeVar("T")


class HelperError(Exception):
    """A helper process ended or went silent before its work was done."""


class Status(msgspec.Struct, frozen=True):
    """What a helper says: `good` and `bad` are events accepted and refused, or webhooks valid and invalid."""

    phase: str
    good: int = 0
    bad: int = 0
    first_ns: int = 0
    ports: tuple[int, ...] = ()


class Helper:
    """The benchmark's side: one helper process and the latest it said."""

    def __init__(self, name: str, process: Process) -> None:
        """Wrap a started process; `start` makes one."""
        self.name = name
        self.pid = process.pid
        self.status = Status("starting")
        self._process = process
        self._input = cast("asyncio.StreamWriter", process.stdin)
        self._output = cast("asyncio.StreamReader", process.stdout)
        self._news = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, name: str, orders: msgspec.Struct) -> Self:
        """Start the module `orderwire.bench.NAME` and give it its first orders."""
        command = [sys.executable, "-m", f"orderwire.bench.{name}"]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        helper = cls(name, process)
        await helper.tell(orders)
        return helper

    async def tell(self, orders: msgspec.Struct) -> None:
        """Send one line of orders. Raises HelperError where the helper has ended."""
        try:
            self._input.write(msgspec.json.encode(orders) + b"\n")
            await self._input.drain()
        except ConnectionError as error:
            raise HelperError(f"the {self.name} ended early: {self.status}") from error

    async def until(self, holds: Callable[[Status], bool], within_s: float) -> Status:
        """The first status for which `holds`. Raises HelperError after `within_s` or when the helper ends."""
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: holds(self.status) or self._listening.done())
        except TimeoutError as error:
            raise HelperError(f"the {self.name} said nothing more for {within_s:.0f} s: {self.status}") from error
        if not holds(self.status):
            raise HelperError(f"the {self.name} ended early: {self.status}")
        return self.status

    async def stop(self) -> None:
        """End its input, so that it writes its log and leaves. Raises HelperError where it fails to."""
        self._input.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), STOP_WAIT_S)
        except TimeoutError:
            await self.kill()
            raise HelperError(f"the {self.name} did not write its log within {STOP_WAIT_S:.0f} s") from None
        if code != 0:
            raise HelperError(f"the {self.name} ended with {code}")

    async def kill(self) -> None:
        """End it now, whatever it does; nothing to do where it has ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        async for line in self._output:
            async with self._news:
                self.status = msgspec.json.decode(line, type=Status)
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


class Channel:
    """The helper's own side: orders in, status out."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Wrap standard input; `open` does it."""
        self._reader = reader

    @classmethod
    async def open(cls) -> Self:
        """Take over standard input."""
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        return cls(reader)

    async def orders(self, kind: type[T]) -> T:
        """The next line of orders."""
        return msgspec.json.decode(await self._reader.readline(), type=kind)

    async def ended(self) -> None:
        """Return when the input has ended."""
        await self._reader.read()

    @staticmethod
    def say(status: Status) -> None:
        """Tell the benchmark how things stand."""
        sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
        sys.stdout.buffer.flush()

    async def keep_saying(self, status: Callable[[], Status]) -> None:
        """Tell how things stand for as long as this task lives."""
        while True:
            self.say(status())
            await asyncio.sleep(STATUS_INTERVAL_S)
