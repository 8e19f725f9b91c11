"""Looking names up: what need not be asked, that a name is asked once, and that slow names queue apart."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from orderwire.delivery import resolver
from orderwire.delivery.resolver import Resolver

LONG_S = 30.0


class Names:
    """Stands in for `getaddrinfo`: names that begin with `slow` wait for `gate`, `gone` is not there."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, *_arguments: object, **_fields: int) -> list[tuple[object, ...]]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.gate.wait(LONG_S)
        if host == "gone":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "odd":
            raise ZeroDivisionError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("192.0.2.1", "192.0.2.2")]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return names


@pytest_asyncio.fixture
async def subject(names: Names, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Resolver]:
    monkeypatch.setattr(resolver, "THREADS_MAX", 2)
    monkeypatch.setattr(resolver, "SLOW_S", 0.1)
    made = Resolver(asyncio.get_running_loop())
    yield made
    names.gate.set()
    made.stop()


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
async def test_addresses_and_localhost_are_never_asked(
    host: str, addresses: tuple[str, ...], subject: Resolver, names: Names
) -> None:
    assert (await subject.find(host)).addresses == addresses
    assert names.asked == []


async def test_a_name_is_asked_once_and_then_remembered(subject: Resolver, names: Names) -> None:
    found = asyncio.gather(*(subject.find("slow.example") for _ in range(10)))
    await asyncio.sleep(0.05)
    names.gate.set()
    assert {lookup.addresses for lookup in await found} == {("192.0.2.1", "192.0.2.2")}
    await subject.find("slow.example")
    assert names.asked == ["slow.example"]


async def test_what_goes_wrong_is_told_and_soon_tried_again(
    subject: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "ERROR_CACHE_S", 0.2)
    for host in ("gone", "odd"):
        for _ in range(2):
            lookup = await subject.find(host)
            assert lookup.addresses == ()
            assert host in lookup.error
        assert names.asked.count(host) == 1
    await asyncio.sleep(0.25)
    await subject.find("gone")
    assert names.asked.count("gone") == 2


async def test_who_gives_up_waiting_takes_nothing_from_the_others(subject: Resolver, names: Names) -> None:
    waiting = [asyncio.create_task(subject.find("slow.example")) for _ in range(2)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    names.gate.set()
    assert (await waiting[1]).addresses
    assert waiting[0].cancelled()


async def test_names_that_were_slow_queue_apart_from_then_on(
    subject: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CACHE_S", 0.0)
    slow, quick = ["slow1", "slow2"], ["quick1", "quick2", "quick3"]
    found = asyncio.gather(*map(subject.find, slow))
    await asyncio.sleep(0.2)
    names.gate.set()
    await found
    names.gate.clear()
    found = asyncio.gather(*map(subject.find, slow))  # slow again: but now on other threads
    started = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*map(subject.find, quick)), LONG_S)
    assert time.monotonic() - started < LONG_S / 2
    assert not found.done()
    names.gate.set()
    await found


async def test_new_names_that_hang_hold_up_none_that_has_answered(
    subject: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CACHE_S", 0.0)
    await subject.find("quick")
    hanging = asyncio.gather(*(subject.find(f"slow{number}") for number in range(10)))
    await asyncio.sleep(0.05)
    assert (await asyncio.wait_for(subject.find("quick"), 5)).addresses
    assert not hanging.done()
    names.gate.set()
    await hanging
