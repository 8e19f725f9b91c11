"""A stand-in for `orderwire serve`, just enough for the benchmark: takes events, forwards them signed, keeps
attempts in the real schema's tables. It has faults on request, so that the benchmark's sums can be seen to fail.
"""

import argparse
import asyncio
import base64
import gc
import hashlib
import hmac
import json
import signal
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import cast

import msgspec
import uvloop

FAULT_EVERY = 10
CONNECTIONS = 16
SCHEMA = """
    CREATE TABLE events (tenant TEXT, id TEXT, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
    CREATE TABLE deliveries (tenant TEXT, id TEXT, event_id TEXT, destination TEXT, PRIMARY KEY (tenant, id))
        WITHOUT ROWID;
    CREATE TABLE attempts (delivery_id TEXT, number INTEGER, outcome TEXT, PRIMARY KEY (delivery_id, number))
        WITHOUT ROWID;
"""


class Event(msgspec.Struct):
    type: str
    subject: str
    data: msgspec.Raw


class Batch(msgspec.Struct):
    events: list[Event]


class Node:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.count = 0
        self.lanes: list[Lane] = []
        self.attempts: list[tuple[str, int]] = []

    async def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/v1/events":
            return self.accept(msgspec.json.decode(body, type=Event))
        if path == "/v1/events/batch":
            answers = [self.accept(event)[1] for event in msgspec.json.decode(body, type=Batch).events]
            return 202, b'{"data":[%b]}' % b",".join(answers)
        if path == "/v1/keys":
            return 201, b'{"id":"key_1","key":"secret"}'
        if path == "/v1/destinations":
            lane = Lane(self, len(self.lanes), json.loads(body)["config"]["url"])
            self.lanes.append(lane)
            await lane.open()
            return 201, b'{"id":"dst_%d"}' % lane.number
        if path.endswith("/secret"):
            lane = self.lanes[int(path.split("/")[3].removeprefix("dst_"))]
            return 200, json.dumps({"secret": "whsec_" + base64.b64encode(lane.key).decode()}).encode()
        return 200, b"{}"

    def accept(self, event: Event) -> tuple[int, bytes]:
        self.count += 1
        if self.fault == "refuse" and self.count % FAULT_EVERY == 0:
            return 503, b"{}"
        event_id = f"evt_{self.count:032x}"
        for lane in self.lanes:
            lane.deliver(event_id, event, self.count % FAULT_EVERY == 0)
        return 202, b'{"id":"%b","type":"order.created","duplicate":false,"deliveries":1}' % event_id.encode()

    def store(self, data: Path) -> None:
        data.mkdir()
        with sqlite3.connect(data / "orderwire.db") as database:
            database.executescript(SCHEMA)
            events = {event for event, _ in self.attempts}
            database.executemany("INSERT INTO events VALUES ('default', ?)", [(event,) for event in events])
            for number, (event, lane) in enumerate(self.attempts):
                if self.fault == "unstored" and number % FAULT_EVERY == 0:
                    continue
                row = (f"dlv_{number}", event, f"dst_{lane}")
                database.execute("INSERT INTO deliveries VALUES ('default', ?, ?, ?)", row)
                database.execute("INSERT INTO attempts VALUES (?, 1, 'delivered')", row[:1])
        database.close()


class Lane:
    def __init__(self, node: Node, number: int, url: str) -> None:
        self.node = node
        self.number = number
        self.key = bytes([number + 1]) * 32
        self.port = int(url.rstrip("/").rpartition(":")[2])
        self.waiting: deque[bytes] = deque()
        self.idle: list[Sender] = []

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            await asyncio.get_running_loop().create_connection(lambda: Sender(self), "127.0.0.1", self.port)

    def deliver(self, event_id: str, event: Event, at_fault: bool) -> None:
        fault = self.node.fault if at_fault else ""
        self.node.attempts.append((event_id, self.number))
        if fault == "lose":
            return
        id_bytes, seconds = event_id.encode(), str(int(time.time())).encode()
        body = b'{"id":"%b","type":"order.created","data":%b}' % (id_bytes, bytes(event.data))
        key = b"another key" if fault == "forge" else self.key
        mac = hmac.digest(key, b"%b.%b.%b" % (id_bytes, seconds, body), hashlib.sha256)
        request = (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nuser-agent: Orderwire/0\r\naccept: */*\r\n"
            b"content-type: application/json\r\nwebhook-id: %b\r\nwebhook-timestamp: %b\r\n"
            b"webhook-signature: v1,%b\r\nContent-Length: %d\r\n\r\n%b"
        ) % (id_bytes, seconds, base64.b64encode(mac), len(body), body)
        for _ in range(2 if fault == "double" else 1):
            if self.idle:
                self.idle.pop().transport.write(request)
            else:
                self.waiting.append(request)


class Sender(asyncio.Protocol):
    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.lane.idle.append(self)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 204 ")
        if self.lane.waiting:
            self.transport.write(self.lane.waiting.popleft())
        else:
            self.lane.idle.append(self)


class Api(asyncio.Protocol):
    def __init__(self, node: Node) -> None:
        self.node = node
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data, self.rest = self.rest + data, b""
        start = data.find(b"\r\n\r\n") + 4
        names = data[:start].lower()
        length = 0
        if b"content-length: " in names:
            length = int(names.split(b"content-length: ")[1].split(b"\r")[0])
        if start < 4 or len(data) < start + length:
            self.rest = data
            return
        path = data.split(b" ", 2)[1].decode()
        if path == "/v1/events":  # without a task: this is what the generator's cost is measured against
            self.write(*self.node.accept(msgspec.json.decode(data[start:], type=Event)))
        else:
            self.task = asyncio.create_task(self.reply(path, data[start:]))

    async def reply(self, path: str, body: bytes) -> None:
        self.write(*await self.node.answer(path, body))

    def write(self, status: int, body: bytes) -> None:
        self.transport.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def serve(port: int, data: Path, fault: str) -> None:
    loop = asyncio.get_running_loop()
    node = Node(fault)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await loop.create_server(lambda: Api(node), "127.0.0.1", port, backlog=1024)
    await stopped.wait()
    node.store(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="")
    parser.add_argument("--port", type=int)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    gc.disable()
    uvloop.run(serve(arguments.port, arguments.data, arguments.fault))
