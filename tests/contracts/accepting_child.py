"""A process that accepts and acknowledges on standard output until it is killed: `python -m ... ENGINE PLACE ROUND`.

A line per acknowledged event, written once `accept` has answered: its id, its public id and its delivery's id.
"""

import asyncio
import os
import sys

from orderwire.clock import SystemClock
from orderwire.ids import new_id
from orderwire.model import DedupeKey, Event
from orderwire.store.base import AcceptItem, Store, Target
from tests.contracts.engines import ENGINES

TOGETHER = 8
LANE = "dst_a"


async def accept_for_ever(store: Store, clock: SystemClock, name: str) -> None:
    number = 0
    while True:
        number += 1
        now = clock.now()
        event = Event(
            id=new_id("evt", now),
            tenant="default",
            type="order.created",
            data=b'{"total": 10.10, "pad": "%s"}' % (b"y" * 400),
            time_at=now,
            received_at=now,
            subject=f"order/{number}",
            supplied_id=f"{name}-{number}",
            keys=(DedupeKey(scope="id", key=f"{name}-{number}", exact=True),),
            content_hash=b"x",
        )
        target = Target(delivery_id=new_id("dlv", now), destination=LANE, owned=number % 2 == 0)
        await store.accept([AcceptItem(event=event, targets=(target,))], now)
        os.write(1, f"{event.id} {event.public_id} {target.delivery_id}\n".encode())


async def main(engine: str, place: str, round: str) -> None:
    clock = SystemClock()
    store = ENGINES[engine].make(place, clock)
    await store.open()
    await asyncio.gather(*[accept_for_ever(store, clock, f"r{round}-{n}") for n in range(TOGETHER)])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
