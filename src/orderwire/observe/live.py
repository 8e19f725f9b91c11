"""The live stream: what happens, as it happens, to whoever watches. Costs nothing while nobody does.

A slow watcher loses the oldest of what waits for it and is told how many; it never holds up the node.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from orderwire.errors import TooManyRequests
from orderwire.model import Attempt, Delivery, Event

QUEUE_MAX = 1_000
QUEUE_BYTES_MAX = 4 * 1024 * 1024  # of payloads: a watcher that reads nothing must not hold a node's memory
HEARTBEAT_S = 15.0


class Happening(NamedTuple):
    """`kind`: event, delivery or attempt; `type`: the event's; `value`: the thing itself, shaped where it is shown."""

    kind: str
    type: str
    value: Event | Delivery | Attempt

    @property
    def size(self) -> int:
        """The bytes of others' that it holds on to."""
        match self.value:
            case Event(data=data):
                return len(data)
            case Attempt(response_body=body):
                return len(body)
            case Delivery():
                return 0


class Watcher:
    """One open stream of one tenant."""

    def __init__(self, tenant: str) -> None:
        """Nothing waits yet."""
        self.tenant = tenant
        self.lost = 0
        self._waiting: deque[Happening] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    def put(self, happening: Happening) -> None:
        """Add one; the oldest go where there are too many."""
        self._waiting.append(happening)
        self._bytes += happening.size
        while len(self._waiting) > QUEUE_MAX or (self._bytes > QUEUE_BYTES_MAX and len(self._waiting) > 1):
            self._take()
            self.lost += 1
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Happening | None]:
        """Happenings as they come; None every HEARTBEAT_S without one."""
        while True:
            while self._waiting:
                yield self._take()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield None

    def _take(self) -> Happening:
        happening = self._waiting.popleft()
        self._bytes -= happening.size
        return happening


class Live:
    """All open streams of the node."""

    def __init__(self, streams_max: int) -> None:
        """`streams_max`: open at once, all tenants together."""
        self._streams_max = streams_max
        self._watchers: set[Watcher] = set()

    def watched(self, tenant: str) -> bool:
        """Whether anybody watches this tenant."""
        return any(watcher.tenant == tenant for watcher in self._watchers) if self._watchers else False

    def tell(self, tenant: str, happening: Happening) -> None:
        """To all who watch this tenant."""
        for watcher in self._watchers:
            if watcher.tenant == tenant:
                watcher.put(happening)

    @contextmanager
    def subscribe(self, tenant: str) -> Iterator[Watcher]:
        """A stream of one tenant while the block lasts. Raises TooManyRequests."""
        if len(self._watchers) >= self._streams_max:
            detail = f"{self._streams_max} live streams are open already"
            raise TooManyRequests(detail, retry_after_s=10)
        watcher = Watcher(tenant)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
