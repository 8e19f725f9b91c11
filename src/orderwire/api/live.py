"""`GET /v1/live`: events, deliveries and attempts as they happen, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send

from orderwire.api.route import By, Node, Route
from orderwire.api.shapes import AttemptShown, DeliveryShown, EventShown, Shape
from orderwire.observe.live import Happening, Watcher
from orderwire.routing.matching import matches
from orderwire.service.specs import TypePattern

router = APIRouter(route_class=Route, tags=["live"])
MEDIA_TYPE = "text/event-stream"
_SHAPES: dict[str, type[Shape]] = {"event": EventShown, "delivery": DeliveryShown, "attempt": AttemptShown}


class LiveQuery(BaseModel):
    """Only what is of this type (`order.*` too)."""

    model_config = ConfigDict(extra="forbid")

    type: TypePattern | None = None


class LiveResponse(StreamingResponse):
    """A stream that gives its place back when it ends, however it ends."""

    media_type = MEDIA_TYPE

    def __init__(self, content: AsyncIterator[bytes], place: ExitStack, status_code: int = 200) -> None:
        super().__init__(content, status_code, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, then give the place back."""
        with self._place:
            await super().__call__(scope, receive, send)


@router.get("/v1/live", name="live.watch", status_code=200, response_class=LiveResponse)
async def watch(query: Annotated[LiveQuery, Query()], node: Node, by: By) -> LiveResponse:
    """`event: event|delivery|attempt` with its JSON as data; `lost` tells how many a slow watcher missed."""
    by.ask("live.watch")
    place = ExitStack()
    watcher = place.enter_context(node.live.subscribe(by.tenant))
    return LiveResponse(_lines(watcher, query.type, node.stopping, lambda: node.callers.knows(by)), place)


async def _lines(
    watcher: Watcher, pattern: str | None, stopping: asyncio.Event, still_may: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The stream's text, until the node stops or the key that opened it is no more."""
    happenings, stop = aiter(watcher), asyncio.create_task(stopping.wait())
    coming: asyncio.Task[Happening | None] | None = None
    yield b": watching\n\n"
    try:
        while True:
            coming = asyncio.create_task(_next(happenings))
            await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done() or not still_may():
                return
            happening = coming.result()
            if happening is None:
                yield b": still here\n\n"
            elif pattern is None or matches(pattern, happening.type):
                yield _message(happening.kind, _SHAPES[happening.kind].show(happening.value))
            if watcher.lost:
                yield _message("lost", {"count": watcher.lost})
                watcher.lost = 0
    finally:
        stop.cancel()
        if coming is not None:
            coming.cancel()


async def _next(happenings: AsyncIterator[Happening | None]) -> Happening | None:
    return await anext(happenings)


def _message(kind: str, shown: object) -> bytes:
    text = msgspec.json.encode(shown)  # with a publisher's own line breaks, where `data` has some
    return b"event: " + kind.encode() + b"\ndata: " + text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"
