"""The connections at rest, and what a connection tells of the requests it carries.

A connection rests with its `Origin`, is taken by the next request there (the last used first), and is closed after
30 seconds, when its receiver closes or speaks unasked, or when too many rest (the longest idle of all origins first).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable

from orderwire.delivery.connection import Connection
from orderwire.delivery.exchange import HttpAnswer
from orderwire.delivery.flight import Flight
from orderwire.delivery.route import Origin

IDLE_S_MAX = 30.0  # below the 60 and more that receivers wait: they should not be the ones to close
SWEEP_S = 5.0


class Pool:
    """Up to `idle_max` resting connections; `opened` are all there are.

    `finish` takes a request's answer, `again` a request to be sent once more on a fresh connection, `unforeseen` one
    that an exception of our own ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        idle_max: int,
        *,
        finish: Callable[[Flight, HttpAnswer], None],
        again: Callable[[Flight], None],
        unforeseen: Callable[[Flight, Exception], None],
    ) -> None:
        self.finish = finish
        self.again = again
        self.unforeseen = unforeseen
        self.opened: set[Connection] = set()
        self._loop = loop
        self._idle_max = idle_max
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._empty = asyncio.Event()

    def take(self, origin: Origin) -> Connection:
        """The connection to `origin` that rested last. KeyError when there is none."""
        connection, _ = origin.idle.popitem()
        del self._idle[connection]
        return connection

    def keep(self, connection: Connection, now_s: float) -> None:
        """Let it rest."""
        if self._closed:
            connection.close()
            return
        connection.idle_since_s = now_s
        connection.origin.idle[connection] = None
        self._idle[connection] = None
        if len(self._idle) > self._idle_max:
            next(iter(self._idle)).close()
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        """It does not rest any more, if it did."""
        if connection in self._idle:
            del self._idle[connection]
            del connection.origin.idle[connection]

    def lose(self, connection: Connection) -> None:
        """Its transport is gone."""
        self.forget(connection)
        self.opened.discard(connection)
        if self._closed and not self.opened:
            self._empty.set()

    def close(self) -> None:
        """Close every connection and keep no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.opened):
            connection.close()

    async def emptied(self, within_s: float) -> None:
        """Wait, after `close`, until the last transport is gone."""
        if self.opened:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), within_s)

    def _sweep(self) -> None:
        since_s = time.monotonic() - IDLE_S_MAX
        for connection in list(self._idle):
            if connection.idle_since_s > since_s:
                break
            connection.close()
        self._timer = self._loop.call_later(SWEEP_S, self._sweep) if self._idle else None
