"""One run, from starting the node to the sums.

    receiver -> node -> destinations -> first delivery -> load -> drain -> stop the node -> sums

Everything started here is ended here, whatever happens.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from time import monotonic, monotonic_ns

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orderwire import __version__
from orderwire.bench.generator import AFTER_S, GeneratorOrders, Go
from orderwire.bench.helper import Helper, HelperError
from orderwire.bench.machine import busy_us, cpu_us, describe, memory_peak_bytes
from orderwire.bench.node import Node, NodeError, serve_program
from orderwire.bench.options import BenchOptions
from orderwire.bench.payload import EVENT_TYPE, event_template
from orderwire.bench.receiver import ReceiverOrders, Secrets
from orderwire.bench.report import BenchResult, Spent, show, sum_up
from orderwire.bench.sums import read_published, read_received

HELPER_WAIT_S, FIRST_DELIVERY_WAIT_S = 15.0, 15.0
QUIET_S = 0.5  # so long after everything came, nothing more did: it is over
STALLED_S = 15.0  # so long nothing came although something is missing: give up (a first retry comes after 5 s)
DRAIN_S_MAX = 180.0
_POLL_S, _REPORT_S = 0.05, 0.2
_PHASES = {"starting": "start", "ready": "start", "running": "load", "done": "drain"}
_GENERATOR_LOG, _RECEIVER_LOG = "published.log", "received.log"

Report = Callable[[str, int, int], None]  # the phase, events accepted, webhooks received


class Probe(msgspec.Struct, frozen=True):
    """CPU time so far, in microseconds: of each process in turn, and of the whole machine."""

    at_ns: int
    each_us: tuple[int, ...]
    all_us: int


async def run_bench(options: BenchOptions, program: Sequence[str] = ()) -> BenchResult:
    """Measure one node. `program` stands in for `orderwire serve`.

    Raises NodeError or HelperError where a run could not be completed; sums that do not hold are `broken`.
    """
    program = program or serve_program()
    with _folder(options) as folder, _progress(options) as report:
        async with AsyncExitStack() as stack:
            orders = ReceiverOrders(options.destinations, str(folder / _RECEIVER_LOG))
            receiver = await Helper.start("receiver", orders)
            stack.push_async_callback(receiver.kill)
            ports = (await receiver.until(lambda status: status.phase == "ready", HELPER_WAIT_S)).ports
            node = await Node.start(folder, program)
            stack.push_async_callback(node.kill)
            first_delivery_ns = await _first_delivery(node, receiver, ports)
            generator = await Helper.start("generator", await _generator_orders(options, node, folder))
            stack.push_async_callback(generator.kill)
            stack.callback(asyncio.create_task(_keep_reporting(generator, receiver, report)).cancel)
            before, after = await _load(options, node, generator, receiver)
            spent = _spent(before, after, memory_peak_bytes(node.pid), first_delivery_ns)
            await node.stop()
            await generator.stop()
            await receiver.stop()
            return await asyncio.to_thread(_sums, options, folder, node, spent, receiver.status.bad)


def main(options: BenchOptions) -> int:
    """Run, print the table unless told not to, print the JSON line last. Returns the exit code."""
    complaints = Console(stderr=True)
    try:
        result = asyncio.run(_stoppable(options))
    except (NodeError, HelperError) as error:
        complaints.print(f"orderwire bench: {error}", style="red", markup=False)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        complaints.print("orderwire bench: stopped before it was done")
        return 130
    if not options.json_only:
        show(result, Console())
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 1 if result.broken else 0


async def _stoppable(options: BenchOptions) -> BenchResult:
    """A run that SIGTERM ends as Ctrl-C does: nothing started is left behind."""
    running = asyncio.ensure_future(run_bench(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


async def _first_delivery(node: Node, receiver: Helper, ports: Sequence[int]) -> int:
    """Subscribe the receiver and publish one event. Returns the nanoseconds since the node was started."""
    await node.ready()
    await receiver.tell(Secrets(tuple(await node.subscribe(ports, EVENT_TYPE))))
    await receiver.until(lambda status: status.phase == "running", HELPER_WAIT_S)
    event = event_template(0) % (0, 0, monotonic_ns())
    await node.call("POST", "/v1/events", msgspec.Raw(event))
    status = await receiver.until(lambda status: status.good + status.bad >= len(ports), FIRST_DELIVERY_WAIT_S)
    if status.bad:
        raise NodeError("the first webhook had no valid signature")
    return status.first_ns - node.started_ns


async def _generator_orders(options: BenchOptions, node: Node, folder: Path) -> GeneratorOrders:
    return GeneratorOrders(
        port=node.port,
        key=await node.publisher_key(),
        seconds=options.seconds,
        batch=options.batch,
        rate=options.rate,
        connections=options.connections_open,
        payload_bytes=options.payload_bytes,
        log=str(folder / _GENERATOR_LOG),
    )


async def _load(options: BenchOptions, node: Node, generator: Helper, receiver: Helper) -> tuple[Probe, Probe]:
    """Publish, and wait until everything accepted has come or nothing comes any more."""
    await generator.until(lambda status: status.phase == "ready", HELPER_WAIT_S)
    pids = (node.pid, generator.pid, receiver.pid, os.getpid())
    warm = receiver.status.good
    before = _probe(pids)
    await generator.tell(Go())
    within_s = options.seconds + AFTER_S + HELPER_WAIT_S
    done = await generator.until(lambda status: status.phase == "done", within_s)
    after = _probe(pids)
    began_s = changed_s = monotonic()
    seen = -1
    while monotonic() - began_s < DRAIN_S_MAX:
        if receiver.status.good != seen:
            seen, changed_s, after = receiver.status.good, monotonic(), _probe(pids)
        complete = seen - warm >= done.good * options.destinations
        if monotonic() - changed_s > (QUIET_S if complete else STALLED_S):
            break
        await asyncio.sleep(_POLL_S)
    return before, after


async def _keep_reporting(generator: Helper, receiver: Helper, report: Report) -> None:
    warm = receiver.status.good
    while True:
        report(_PHASES[generator.status.phase], generator.status.good, receiver.status.good - warm)
        await asyncio.sleep(_REPORT_S)


def _probe(pids: Sequence[int]) -> Probe:
    return Probe(monotonic_ns(), tuple(map(cpu_us, pids)), busy_us())


def _spent(before: Probe, after: Probe, node_memory_bytes: int, first_delivery_ns: int) -> Spent:
    each_us = [end - start for start, end in zip(before.each_us, after.each_us, strict=True)]
    return Spent(
        node_us=each_us[0],
        generator_us=each_us[1],
        receiver_us=each_us[2],
        others_us=max(0, after.all_us - before.all_us - sum(each_us)),
        duration_ns=after.at_ns - before.at_ns,
        node_memory_bytes=node_memory_bytes,
        first_delivery_ns=first_delivery_ns,
    )


def _sums(options: BenchOptions, folder: Path, node: Node, spent: Spent, invalid: int) -> BenchResult:
    published = read_published((folder / _GENERATOR_LOG).read_bytes(), options.batch)
    received = read_received((folder / _RECEIVER_LOG).read_bytes(), published.accepted)
    return sum_up(options, __version__, describe(folder), spent, (published, received), node.stored(), invalid)


@contextmanager
def _folder(options: BenchOptions) -> Iterator[Path]:
    if options.keep_data is not None:
        options.keep_data.mkdir(parents=True, exist_ok=True)
        yield options.keep_data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as folder:
        yield Path(folder)


@contextmanager
def _progress(options: BenchOptions) -> Iterator[Report]:
    """A bar on standard error while the run goes; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    shown = console.is_terminal and not options.json_only
    with Progress(*columns, console=console, transient=True, disable=not shown, refresh_per_second=4) as bar:
        task = bar.add_task("start", total=options.seconds, told="")
        began: list[float] = []

        def report(phase: str, accepted: int, received: int) -> None:
            began[:] = began or [monotonic()]
            told = f"{accepted:,} accepted, {received:,} received"
            bar.update(task, description=phase, completed=monotonic() - began[0], told=told)

        yield report
