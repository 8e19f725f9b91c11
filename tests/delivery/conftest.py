"""The door out runs on uvloop in production and on plain asyncio elsewhere: its tests run on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

PLAIN: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}

uvloop.new_event_loop().close()  # from the first loop on libuv keeps two descriptors: not a test's to be blamed for


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {**PLAIN, "uvloop": uvloop.new_event_loop} if item.path.name.startswith("test_http") else PLAIN
