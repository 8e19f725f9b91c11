"""What one request out costs: CPU microseconds per request for `Sender` against a cheap receiver in another process.

    python benchmarks/http_out.py [--requests 20000] [--in-flight 64] [--work-us 0] [--close] [--asyncio]

`--work-us` makes the loop do that much Python work for each answer, as a real node does; `--close` makes the receiver
close after each answer, so that every request needs a connection of its own; `--asyncio` leaves uvloop out. Sender and
receiver share the machine; only the sender is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import resource
import socket
import time
from ipaddress import ip_network
from typing import cast

import uvloop

from orderwire.delivery.http import EgressPolicy, HttpAnswer, HttpRequest, Sender

ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 10:00:00 GMT\r\nserver: bench\r\n"
    b"content-type: application/json\r\nx-request-id: 0123456789abcdef\r\ncontent-length: 2\r\n\r\n{}"
)
BODY = b'{"id":"evt_01","type":"order.created","data":{"note":"' + b"x" * 700 + b'"}}'
HEADERS = [
    "content-type: application/json",
    "user-agent: Orderwire/0.1",
    "webhook-id: evt_0199e6b8-0000-7000-8000-000000000000",
    "webhook-timestamp: 1763892000",
    "webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
]


class _Receiver(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            start = head.index(b"content-length:") + 15
            length = int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            self._answer()

    def _answer(self) -> None:
        self._transport.write(ANSWER)


class _ClosingReceiver(_Receiver):
    def _answer(self) -> None:
        self._transport.write(ANSWER.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        self._transport.close()


def _receive(listener: socket.socket, receiver: type[_Receiver]) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(receiver, sock=listener)
        await server.serve_forever()

    uvloop.run(serve())


class _Load:
    """Keeps `in_flight` requests going until `total` have come back."""

    def __init__(self, url: str, total: int, in_flight: int, work_us: float) -> None:
        self._url, self._left, self._window, self._work_us = url, total, in_flight, work_us
        self._missing = total
        self._durations_ms: list[float] = []
        self.failed = 0
        self.batches = 0
        self.done = asyncio.Event()
        self.sender: Sender

    def begin(self) -> None:
        self._submit(min(self._window, self._left))

    def _submit(self, count: int) -> None:
        self._left -= count
        self.sender.submit([HttpRequest(self._url, BODY, list(HEADERS), 15.0) for _ in range(count)])

    def on_answers(self, answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        self.batches += 1
        for _, answer in answers:
            self.failed += answer.status_code != 200 or answer.error is not None
            self._durations_ms.append(answer.duration_ms)
            if self._work_us:
                until = time.perf_counter_ns() + int(self._work_us * 1000)
                while time.perf_counter_ns() < until:
                    pass
        self._missing -= len(answers)
        if self._missing == 0:
            self.done.set()
        elif self._left:
            self._submit(min(len(answers), self._left))

    def latency_ms(self, share: float) -> float:
        return sorted(self._durations_ms)[int(len(self._durations_ms) * share)]


async def _measure(url: str, options: argparse.Namespace) -> dict[str, float]:
    policy = EgressPolicy((ip_network("127.0.0.0/8"),), allow_http=True)
    load = _Load(url, options.requests, options.in_flight, options.work_us)
    sender = Sender(policy, on_answers=load.on_answers, loop=asyncio.get_running_loop())
    load.sender = sender
    sender.start()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    load.begin()
    await load.done.wait()
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    await sender.stop(1.0)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    per = 1e6 / options.requests
    return {
        "cpu_us": round(cpu_s * per, 1),
        "cpu_us_user": round((after.ru_utime - before.ru_utime) * per, 1),
        "requests_per_s": round(options.requests / wall),
        "answers_per_batch": round(options.requests / load.batches, 1),
        "p50_ms": round(load.latency_ms(0.5), 2),
        "p99_ms": round(load.latency_ms(0.99), 2),
        "context_switches": after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw,
        "failed": load.failed,
        "internal_errors": sender.internal_errors,
    }


def main() -> None:
    """Measure once and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--work-us", type=float, default=0.0)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--asyncio", action="store_true")
    options = parser.parse_args()
    kind = _ClosingReceiver if options.close else _Receiver
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        receiver = multiprocessing.Process(target=_receive, args=(listener, kind), daemon=True)
        receiver.start()
    try:
        run = asyncio.run if options.asyncio else uvloop.run
        result = run(_measure(f"http://127.0.0.1:{port}/hook", options))
    finally:
        receiver.terminate()
        receiver.join()
    print(json.dumps({"in_flight": options.in_flight, "work_us": options.work_us, **result}))


if __name__ == "__main__":
    main()
