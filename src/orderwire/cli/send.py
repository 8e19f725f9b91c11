"""`orderwire send`: publish one event, or a file of them in batches."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from orderwire.cli.client import Node
from orderwire.cli.failures import Failure, Refused, Unreachable, Usage
from orderwire.cli.options import HERE, Reach, Words, instant, json_text
from orderwire.cli.output import counted, emit, show_done
from orderwire.ingest.publish import BATCH_BYTES_MAX, BATCH_EVENTS_MAX

REQUEST_BYTES_MAX = BATCH_BYTES_MAX - 1024  # some of it for what stands around the lines
_EVENT_PATH = re.compile(r"\bevents\[(\d+)\]")


def send(  # noqa: PLR0913 - each is a flag
    type: str | None = None,
    /,
    *,
    data: Words = "{}",
    subject: str | None = None,
    id: str | None = None,
    time: str | None = None,
    destination: str | None = None,
    file: Words | None = None,
    batch: int = 100,
    at: Reach = HERE,
) -> None:
    """Publish one event, or with --file a whole file of them.

    Parameters
    ----------
    type
        As order.created.
    data
        What happened: JSON, @file, or - for standard input.
    subject
        What it happened to, as order/1001.
    id
        Your own id: sending the same event again under it changes nothing.
    time
        When it happened; by default now.
    destination
        Only to this destination, whatever its types and filter.
    file
        NDJSON, one event a line: {"type": ..., "data": ...}; - for standard input.
    batch
        Events a request, with --file: 1 to 1000.
    """
    if file is not None:
        if type is not None:
            raise Usage("give a type or --file, not both: each line of the file names its own type")
        send_file(at, file, batch)
        return
    if type is None:
        raise Usage("what is to be sent? as: orderwire send order.created --data '{\"total\": 990}'")
    given = {"id": id, "subject": subject, "time": instant(time), "destination": destination}
    body = {"type": type, "data": json_text(data, "--data")}
    answer = at.node().call("POST", "/v1/events", body | {n: v for n, v in given.items() if v is not None})
    event = msgspec.json.decode(answer)
    known = ", known already: nothing was sent" if event["duplicate"] else ""
    show_done(answer, at, f"{event['id']} accepted, {counted(event['deliveries'], 'delivery')}{known}")


@dataclass
class Sum:
    """What became of a file so far."""

    lines: int = 0
    events: int = 0
    duplicates: int = 0
    deliveries: int = 0
    pending: list[bytes] = field(default_factory=list)
    pending_lines: list[int] = field(default_factory=list)


def send_file(at: Reach, name: str, batch: int) -> None:
    """Publish every line of an NDJSON file. Raises Failure naming the line at fault and how to go on."""
    if not 1 <= batch <= BATCH_EVENTS_MAX:
        raise Usage(f"--batch must be 1 to {BATCH_EVENTS_MAX}")
    total = Sum()
    with _opened(name) as source, _progress() as progress:
        task = progress.add_task("sending", total=None if name == "-" else Path(name).stat().st_size)
        node = at.node()
        for line in _advancing(source, progress, task):
            total.lines += 1
            if line.strip():
                _check(line, total.lines, total)
                if total.pending and sum(map(len, total.pending)) + len(line) > REQUEST_BYTES_MAX:
                    _post(node, total)
                total.pending.append(line.strip())
                total.pending_lines.append(total.lines)
            if len(total.pending) >= batch:
                _post(node, total)
        _post(node, total)
    if at.json:
        emit(msgspec.json.encode({n: getattr(total, n) for n in ("events", "duplicates", "deliveries")}))
        return
    events, deliveries = counted(total.events, "event"), counted(total.deliveries, "delivery")
    print(f"{events} accepted, {total.duplicates} of them known already, {deliveries}")


def _post(node: Node, total: Sum) -> None:
    if not total.pending:
        return
    try:
        answer = node.call("POST", "/v1/events/batch", b'{"events":[' + b",".join(total.pending) + b"]}")
    except (Refused, Unreachable) as failure:
        raise _with_line(failure, total) from None
    for event in msgspec.json.decode(answer)["data"]:
        total.events += 1
        total.duplicates += event["duplicate"]
        total.deliveries += event["deliveries"]
    total.pending, total.pending_lines = [], []


def _with_line(failure: Failure, total: Sum) -> Failure:
    """The node's sentences with `events[i]` read as a line of the file, and how to go on."""

    def line(found: re.Match[str]) -> str:
        index = int(found[1])
        return f"line {total.pending_lines[index]}" if index < len(total.pending_lines) else found[0]

    said = [_EVENT_PATH.sub(line, text) for text in failure.lines]
    said.append(_how_to_go_on(total))
    if isinstance(failure, Refused):
        return Refused(failure.status, *said)
    return Unreachable(*said, "the batch from there on may be accepted: events with an id can be sent again safely")


def _check(line: bytes, number: int, total: Sum) -> None:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"line {number} is not JSON: {error}", _how_to_go_on(total, number)) from None


def _how_to_go_on(total: Sum, number: int = 0) -> str:
    first = total.pending_lines[0] if total.pending_lines else number
    go_on = f"go on with: tail -n +{first} FILE | orderwire send --file -"
    return f"{total.events} events were accepted, all before line {first}; once it is mended {go_on}"


def _opened(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise Usage(f"{name} cannot be read: {error.strerror}") from None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    err = Console(stderr=True)
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _advancing(source: Iterable[bytes], progress: Progress, task: int) -> Iterator[bytes]:
    for line in source:
        yield line
        progress.advance(task, len(line))  # type: ignore[arg-type]  # rich's TaskID is an int
