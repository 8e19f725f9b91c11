"""The load generator: a process that publishes events as fast as they are answered, or on a fixed schedule.

It costs as little as it can: prebuilt request bytes in which only the figures vary, answers read by
`content-length`, their bodies kept as they came and looked into after the load. On a schedule (`rate`)
an event carries the time it was due, not the time a connection was free: a slow node cannot hide by
slowing the generator down (no coordinated omission).
"""

import asyncio
import gc
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from typing import cast

import msgspec
import uvloop

from orderwire.bench.helper import Channel, Status
from orderwire.bench.payload import event_template

CONNECTIONS_MAX = 1024
AFTER_S = 10.0  # for what is due or unanswered when the load ends
_TICK_S = 0.001
_PAUSE_S = 0.1  # of a connection whose request was refused
_SECOND_NS = 1_000_000_000
_HEAD_END = b"\r\n\r\n"
_LENGTH_END = b"ength: "  # of `content-length`, however it is capitalised
_ACCEPTED = 202


class GeneratorOrders(msgspec.Struct, frozen=True):
    """Where to publish, how much of what, and where to write the log."""

    port: int
    key: str
    seconds: float
    batch: int
    rate: float
    connections: int
    payload_bytes: int
    log: str


class Go(msgspec.Struct, frozen=True):
    """Begin."""


class Requests:
    """Makes request bytes."""

    def __init__(self, orders: GeneratorOrders) -> None:
        """Build all that does not vary."""
        self._batch = orders.batch
        self._event = event_template(orders.payload_bytes)
        event_bytes = len(self._event % (0, 0, 0))
        single = orders.batch == 1
        length = event_bytes if single else len(b'{"events":[]}') + orders.batch * (event_bytes + 1) - 1
        self._head = (
            f"POST /v1/events{'' if single else '/batch'} HTTP/1.1\r\n"
            f"host: 127.0.0.1:{orders.port}\r\n"
            f"authorization: Bearer {orders.key}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {length}\r\n\r\n"
        ).encode()
        self._single = self._head.replace(b"%", b"%%") + self._event

    def make(self, seq: int, sent_ns: int) -> bytes:
        """The request for the events from `seq` on."""
        if self._batch == 1:
            return self._single % (seq, seq, sent_ns)
        event = self._event
        events = b",".join([event % (number, number, sent_ns) for number in range(seq, seq + self._batch)])
        return b'%b{"events":[%b]}' % (self._head, events)


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One request: its first event, and when it was to be sent, and was."""

    seq: int
    sent_ns: int
    written_ns: int


class Load:
    """What is to be sent by whom, and what became of it."""

    def __init__(self, orders: GeneratorOrders) -> None:
        """Nothing sent yet."""
        self.orders = orders
        self.requests = Requests(orders)
        self.accepted = self.refused = self.planned = 0
        self._answers: list[tuple[Sent, int, int, bytes]] = []
        self._seq = 1
        self._connections = self._in_flight = 0
        self._idle: list[Connection] = []
        self._due: deque[int] = deque()
        self._next_ns = self._ends_ns = 0
        self._every_ns = round(_SECOND_NS * orders.batch / orders.rate) if orders.rate else 0
        self._finished = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open one more connection. Raises OSError where the node does not take it."""
        self._connections += 1
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.orders.port)
        except OSError:
            self._connections -= 1
            raise

    async def run(self) -> None:
        """Publish for as long as ordered, then wait, bounded, for the last answers."""
        now_ns = self._next_ns = monotonic_ns()
        self._ends_ns = now_ns + round(self.orders.seconds * _SECOND_NS)
        idle, self._idle = self._idle, []
        for connection in idle:
            self.free(connection, now_ns)
        if self._every_ns:
            self._tick()
        try:
            await asyncio.wait_for(self._finished.wait(), self.orders.seconds + AFTER_S)
        except TimeoutError:
            self._due.clear()  # they stay planned and unsent, and the sums say so

    def free(self, connection: "Connection", now_ns: int) -> None:
        """Give a connection its next request, or let it rest."""
        if self._due:
            self._send(connection, self._due.popleft(), now_ns)
        elif now_ns < self._ends_ns and not self._every_ns:
            self.planned += self.orders.batch
            self._send(connection, now_ns, now_ns)
        else:
            self._idle.append(connection)
            over_ns = self._next_ns if self._every_ns else now_ns
            if self._in_flight == 0 and over_ns >= self._ends_ns > 0:
                self._finished.set()

    def answered(self, sent: Sent, now_ns: int, status: int, body: bytes) -> None:
        """Keep what a request was answered; status 0 is a connection that broke."""
        self._in_flight -= 1
        self._answers.append((sent, now_ns, status, body))
        if status == _ACCEPTED:
            self.accepted += self.orders.batch
        else:
            self.refused += self.orders.batch

    def lost(self, connection: "Connection") -> None:
        """Replace a connection that was closed."""
        self._connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._finished.is_set():
            asyncio.get_running_loop().call_later(_PAUSE_S, self._connect_soon)

    def log(self) -> bytes:
        """`PLANNED`, then `SEQ SENT_NS WRITTEN_NS ANSWERED_NS STATUS BODY`, a line for each request."""
        lines = [b"%d" % self.planned]
        for sent, now_ns, status, body in self._answers:
            flat = body.replace(b"\n", b" ")
            lines.append(b"%d %d %d %d %d %b" % (sent.seq, sent.sent_ns, sent.written_ns, now_ns, status, flat))
        return b"\n".join(lines)

    def status(self, phase: str = "running") -> Status:
        """How things stand."""
        return Status(phase, self.accepted, self.refused)

    def _send(self, connection: "Connection", sent_ns: int, now_ns: int) -> None:
        seq = self._seq
        self._seq = seq + self.orders.batch
        self._in_flight += 1
        connection.send(Sent(seq, sent_ns, now_ns))

    def _tick(self) -> None:
        """Note what is due, send it on idle connections, and open another where they do not suffice."""
        now_ns = monotonic_ns()
        while self._next_ns <= now_ns and self._next_ns < self._ends_ns:
            self._due.append(self._next_ns)
            self._next_ns += self._every_ns
            self.planned += self.orders.batch
        while self._due and self._idle:
            self.free(self._idle.pop(), now_ns)
        if self._due:
            self._connect_soon()
        if self._due or self._next_ns < self._ends_ns:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        elif self._in_flight == 0:
            self._finished.set()

    def _connect_soon(self) -> None:
        if self._connections < CONNECTIONS_MAX:
            task = asyncio.create_task(self._connect_one_more())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect_one_more(self) -> None:
        with suppress(OSError):  # the node is full or gone: what is due stays due, and the sums say so
            await self.connect()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        """Serve `load`."""
        self._load = load
        self._sent: Sent | None = None
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._load.free(self, monotonic_ns())

    def send(self, sent: Sent) -> None:
        """Write one request."""
        self._sent = sent
        self._transport.write(self._load.requests.make(sent.seq, sent.sent_ns))

    def data_received(self, data: bytes) -> None:
        """Note a whole answer and ask for the next request."""
        now_ns = monotonic_ns()
        if self._rest:
            data, self._rest = self._rest + data, b""
        start = data.find(_HEAD_END) + len(_HEAD_END)
        length = data.find(_LENGTH_END)
        if start < len(_HEAD_END) or length < 0:
            self._rest = data
            return
        length += len(_LENGTH_END)
        if len(data) < start + int(data[length : data.index(b"\r", length)]):
            self._rest = data
            return
        sent, self._sent = self._sent, None
        if sent is None:
            return  # an answer to nothing: the node is closing
        status = int(data[9:12])
        self._load.answered(sent, now_ns, status, data[start:])
        if status == _ACCEPTED:
            self._load.free(self, now_ns)
        else:
            asyncio.get_running_loop().call_later(_PAUSE_S, self._resume)

    def connection_lost(self, error: Exception | None) -> None:
        """Give up the request in flight: whether it was accepted is unknown."""
        del error
        if self._sent is not None:
            self._load.answered(self._sent, monotonic_ns(), 0, b"")
        self._load.lost(self)

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._load.free(self, monotonic_ns())


async def generate() -> None:
    """Connect, publish when told to, and write the log when the orders end."""
    channel = await Channel.open()
    orders = await channel.orders(GeneratorOrders)
    load = Load(orders)
    for _ in range(orders.connections):
        await load.connect()
    channel.say(load.status("ready"))
    await channel.orders(Go)
    saying = asyncio.create_task(channel.keep_saying(load.status))
    await load.run()
    saying.cancel()
    channel.say(load.status("done"))
    await channel.ended()
    Path(orders.log).write_bytes(load.log())  # noqa: ASYNC240 - nothing else is left to do


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and a collection would show up as a late event
    uvloop.run(generate())
