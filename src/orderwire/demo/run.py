"""The demo from start to end.

    receivers -> node -> sources and destinations -> the day -> until all is delivered -> the sums -> stop

Everything started here is ended here, whatever happens; the temporary folder goes with it.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import monotonic

from orderwire.clock import SystemClock
from orderwire.demo.board import Board
from orderwire.demo.node import LOG, Node, NodeError
from orderwire.demo.play import play, set_up
from orderwire.demo.receivers import Receiver, Took, four, wanted
from orderwire.demo.screen import Screen
from orderwire.demo.shop import day
from orderwire.demo.steps import Fate, Step
from orderwire.demo.sums import Account, Sums, add_up
from orderwire.model import OPERATIONAL_PREFIX

STALLED_S = 20.0  # so long nothing came although something is missing: let the sums say what
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOG_LINES = 20
_POLL_S = 0.1


class Demo:
    """One run. `stay`: keep the node up after the day, until somebody ends it."""

    def __init__(self, events: int, *, stay: bool) -> None:
        """Nothing is started yet."""
        self._steps = day(events)
        self._stay = stay
        self._screen = Screen()
        self._receivers = four()
        self._board = Board(self._steps, self._receivers)
        self._clock = SystemClock()
        self._ended = asyncio.Event()
        self._signal = 0

    async def run(self) -> int:
        """Run, and say how it went. Returns the exit code."""
        self._listen_to_signals()
        with tempfile.TemporaryDirectory(prefix="orderwire-demo-") as folder:
            try:
                sums = await self._in(Path(folder))
            except asyncio.CancelledError:
                self._screen.say("Stopped before the day was over; nothing is left behind.")
                return 128 + self._signal
            except NodeError as error:
                self._screen.say(f"The demo failed: {error}.", "bold red")
                self._show_log(Path(folder))
                return 1
            if sums.broken:
                self._show_log(Path(folder))
            return 1 if sums.broken else 0

    async def _in(self, folder: Path) -> Sums:
        """The whole run, with everything in `folder`. Raises NodeError."""
        began = monotonic()
        async with AsyncExitStack() as stack:
            for receiver in self._receivers:
                receiver.tell = self._took
                await receiver.listen()
                stack.push_async_callback(receiver.close)
            node = Node.start(folder)
            stack.push_async_callback(_end, node)
            await node.ready()
            stage = await set_up(node, self._receivers)
            self._screen.say(f"Up after {monotonic() - began:.1f} s: a node on SQLite at {node.url}, four receivers.")
            began = monotonic()
            with self._screen.showing(self._board):
                answers = await play(stage, self._steps, self._board.answered)
                await self._until_delivered(node)
            seconds = monotonic() - began
            sums = add_up(answers, await account(node, self._receivers), self._receivers)
            self._screen.result(sums, seconds)
            if sums.broken:
                await self._show_clues(node)
            if self._stay:
                await self._linger(node)
            await asyncio.to_thread(node.stop)
            return sums

    async def _until_delivered(self, node: Node) -> None:
        """Return when nothing is on its way any more, or nothing moves."""
        due = {one.name: _due(one, self._steps) for one in self._receivers}
        seen, moved_at = -1, monotonic()
        while monotonic() - moved_at < STALLED_S:
            await asyncio.sleep(_POLL_S)
            came = sum(one.requests for one in self._receivers)
            if came != seen:
                seen, moved_at = came, monotonic()
            if all(len(one.kept) >= due[one.name] for one in self._receivers) and not await _unfinished(node):
                return

    async def _linger(self, node: Node) -> None:
        """Stay up until a signal comes; every webhook that is received meanwhile is a line."""
        say = self._screen.say
        options = f"--url {node.url} --key {node.admin_key}"
        bearer = f'-H "Authorization: Bearer {node.admin_key}"'
        say()
        say(f"The node stays up at {node.url} until Ctrl-C. Its admin key: {node.admin_key}", "bold")
        say("Try, in another terminal:")
        say(f"  {_program()} tail {options}")
        say(f'  curl {bearer} "{node.url}/v1/deliveries?limit=5"')
        say(f"  curl {bearer} {node.url}/v1/events -H 'Content-Type: application/json' \\")
        say("""       -d '{"type": "order.created", "subject": "order/1", "data": {"note": "by hand"}}'""")
        self._lingering = True
        while not self._ended.is_set():
            if not node.is_running:
                raise NodeError("the node has ended by itself")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1)
        say("Ending.")

    def _took(self, took: Took) -> None:
        """A receiver has taken a webhook."""
        line = self._board.took(took, self._clock.now())
        if self._lingering:
            self._screen.say(line.text())

    def _listen_to_signals(self) -> None:
        """The first signal ends the day; or the staying on, once that has begun."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end(number: int) -> None:
            self._signal = number
            if self._lingering:
                self._ended.set()
            elif task is not None:
                task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, end, number)

    async def _show_clues(self, node: Node) -> None:
        """Of each receiver, what the newest attempt of a delivery that is not done says."""
        for receiver in self._receivers:
            async for delivery in node.pages("/v1/deliveries", destination=receiver.destination):
                if delivery["status"] != "delivered":
                    attempts = await node.call("GET", f"/v1/deliveries/{delivery['id']}/attempts?limit=1")
                    said = [f"{one['outcome']} {one['status_code']} {one['error']}" for one in attempts["data"]]
                    self._screen.say(f"{receiver.name}: {delivery['type']} is {delivery['status']}: {said}")
                    break

    def _show_log(self, folder: Path) -> None:
        """The end of the node's log, and where the whole of it is kept."""
        log = folder / LOG
        if log.exists():
            kept = Path(tempfile.gettempdir()) / f"orderwire-demo-{os.getpid()}.log"
            shutil.copy(log, kept)
            self._screen.say("The end of the node's log:")
            for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                self._screen.say(f"  {line}")
            self._screen.say(f"The whole log is in {kept}.")

    _lingering = False


async def account(node: Node, receivers: Sequence[Receiver]) -> Account:
    """What the node says of the day, by its public API. Raises NodeError."""
    events = [(row["id"], (row["type"], row["subject"])) async for row in node.pages("/v1/events")]
    own = Counter(type for _, (type, _) in events if type.startswith(OPERATIONAL_PREFIX))
    events = [(id, fact) for id, fact in events if fact[0] not in own]
    deliveries, attempts = {}, {}
    for receiver in receivers:
        rows = node.pages("/v1/deliveries", destination=receiver.destination)
        deliveries[receiver.name] = {row["event"]: (row["status"], row["attempt_count"]) async for row in rows}
        stats = await node.call("GET", f"/v1/destinations/{receiver.destination}/stats")
        attempts[receiver.name] = stats["attempts"]
    duplicates = await node.metric("orderwire_events_duplicate_total")
    return Account(dict(reversed(events)), deliveries, attempts, duplicates, own)


async def _end(node: Node) -> None:
    """Let it stop in good order where there is time; in any case it ends."""
    try:
        await asyncio.to_thread(node.stop)
    except NodeError:
        pass  # told already, or about to be
    finally:
        node.kill()


async def _unfinished(node: Node) -> bool:
    """Whether the node has deliveries that are not done."""
    for status in ("pending", "retrying"):
        async for _ in node.pages("/v1/deliveries", status=status):
            return True
    return False


def _due(receiver: Receiver, steps: Sequence[Step]) -> int:
    return sum(step.trick.fate is Fate.ACCEPTED and wanted(receiver.wants, step.type) for step in steps)


def _program() -> str:
    """How to call this very program from where we are."""
    return sys.argv[0] if sys.argv[0].endswith("orderwire") else f"{sys.executable} -m orderwire"
