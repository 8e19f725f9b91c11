"""Looking names up: what need not be asked, and that slow names queue apart."""

from __future__ import annotations

import queue
import socket
import threading
import time

import pytest

from orderwire.delivery import resolver
from orderwire.delivery.resolver import Lookup, Resolver

LONG_S = 30.0


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("::1", ("::1",)),
        ("localhost", ("127.0.0.1", "::1")),
        ("LocalHost.", ("127.0.0.1", "::1")),
        ("shop.localhost", ("127.0.0.1", "::1")),
    ],
)
def test_addresses_and_localhost_are_never_asked(host: str, addresses: tuple[str, ...]) -> None:
    known = Resolver(lambda _lookup: None).known(host, time.monotonic())
    assert known is not None
    assert known.addresses == addresses


def test_names_are_not_known_before_they_are_asked() -> None:
    assert Resolver(lambda _lookup: None).known("shop.example", 0.0) is None
    with pytest.raises(ValueError, match="IPv"):
        Resolver(lambda _lookup: None).known("::nonsense", 0.0)


def test_names_that_were_slow_queue_apart_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "THREADS_MAX", 2)
    monkeypatch.setattr(resolver, "SLOW_S", 0.1)
    gate = threading.Event()

    def look_up(host: str, *_arguments: object, **_fields: int) -> list[tuple[object, ...]]:
        if host.startswith("slow"):
            gate.wait(LONG_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    found: queue.SimpleQueue[Lookup] = queue.SimpleQueue()
    subject = Resolver(found.put)
    slow, quick = ["slow1", "slow2"], ["quick1", "quick2", "quick3"]
    for host in slow:
        subject.look_up(host)
    time.sleep(0.2)
    gate.set()
    assert sorted(found.get(timeout=LONG_S).host for _ in slow) == slow
    gate.clear()
    for host in slow + quick:  # slow again: but now on other threads, and the two quick ones are free
        subject.look_up(host)
    assert sorted(found.get(timeout=LONG_S).host for _ in quick) == quick
    gate.set()
    assert sorted(found.get(timeout=LONG_S).host for _ in slow) == slow
    subject.stop()
