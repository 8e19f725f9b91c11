"""The hot routes, in front of the FastAPI application: `POST /v1/events`, `/v1/events/batch`, `/in/{source}`.

Bare ASGI and msgspec: an event costs about 30 us here instead of 140 (LIBRARIES.md). They take no decisions: who may
publish, what is valid and what is kept is decided below. Described by hand in the OpenAPI document.
"""

import asyncio

import structlog
from msgspec.json import encode
from starlette.types import ASGIApp, Receive, Scope, Send

from orderwire.api.problems import MEDIA_TYPE, body_of
from orderwire.clock import to_rfc3339
from orderwire.errors import Invalid, Malformed, OrderwireError, TooLarge, Unauthorized, UnsupportedMedia
from orderwire.ingest.publish import BATCH_BYTES_MAX, DATA_BYTES_MAX, ENVELOPE_BYTES_MAX, parse_batch, parse_publish
from orderwire.ingest.webhook import InboundRequest
from orderwire.model import Event
from orderwire.observe.metrics import Metrics
from orderwire.service.callers import Callers
from orderwire.service.events import IDEMPOTENCY_KEY_CHARS_MAX, Events
from orderwire.service.receiving import Receiving
from orderwire.store.base import Accepted

EVENTS, BATCH, INGEST = "/v1/events", "/v1/events/batch", "/in/"
# Batches are worked on so many at a time, the others wait their turn: eight of 100 events in one turn of the loop took
# 30 ms, in which no delivery moved, and a publisher of batches outran the deliveries it paid for four to one.
BATCHES_AT_ONCE = 2
LIVE = "/v1/live"  # has no end, and so no HEAD
PUBLISH_BYTES_MAX = DATA_BYTES_MAX + ENVELOPE_BYTES_MAX
log = structlog.get_logger("orderwire.api")


class HotRoutes:
    """An ASGI application that answers the hot routes itself and hands everything else on."""

    def __init__(self, rest: ASGIApp, callers: Callers, events: Events, receiving: Receiving, metrics: Metrics) -> None:
        """`rest`: the FastAPI application."""
        self._rest = rest
        self._callers = callers
        self._events = events
        self._receiving = receiving
        self._metrics = metrics
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if method == "POST" and path in (EVENTS, BATCH):
                await self._answer(scope, receive, send, path)
                return
            if path.startswith(INGEST) and method in ("POST", "GET"):
                await self._answer(scope, receive, send, INGEST)
                return
            if method == "HEAD" and path != LIVE and not path.startswith(INGEST):
                scope = {**scope, "method": "GET"}  # the server leaves the body out
        await self._rest(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, route: str) -> None:
        extra: list[tuple[bytes, bytes]] = []
        try:
            if route is INGEST:
                status, body, content_type = await self._ingest(scope, receive)
            else:
                status, content_type = 202, b"application/json"
                body = await self._publish(scope, receive, batch=route == BATCH)
        except OrderwireError as refusal:
            status, body, content_type = refusal.status, body_of(refusal), MEDIA_TYPE.encode()
            if refusal.retry_after_s is not None:
                extra.append((b"retry-after", str(refusal.retry_after_s).encode()))
            if isinstance(refusal, Unauthorized) and route is not INGEST:
                extra.append((b"www-authenticate", b"Bearer"))
            self._metrics.refused(route, status)
        except Exception:
            log.exception("hot_route_failed", route=route)
            status, content_type = 500, MEDIA_TYPE.encode()
            body = body_of(OrderwireError("something went wrong here; it is in the node's log"))
            self._metrics.refused(route, status)
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", content_type), length, *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _publish(self, scope: Scope, receive: Receive, *, batch: bool) -> bytes:
        headers = dict(scope["headers"])
        caller = self._callers.identify(_text(headers, b"authorization"), _text(headers, b"orderwire-tenant"))
        caller.ask("event.publish")
        if scope["query_string"]:
            raise Invalid.field("query", "publishing takes no query parameters")
        _require_json(headers)
        raw = await _read(receive, headers, BATCH_BYTES_MAX if batch else PUBLISH_BYTES_MAX)
        key = _idempotency_key(headers)
        if batch:
            async with self._batches:
                kept = await self._events.publish(caller.tenant, parse_batch(raw), key, batch=True)
        else:
            kept = await self._events.publish(caller.tenant, [parse_publish(raw)], key)
        repeats = sum([accepted.duplicate for _, accepted in kept])
        self._metrics.accepted("publish", len(kept) - repeats, repeats)
        if batch:
            return b'{"data":[' + b",".join([_shown(event, accepted) for event, accepted in kept]) + b"]}"
        return _shown(*kept[0])

    async def _ingest(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        source_id = scope["path"][len(INGEST) :]
        self._receiving.source(source_id)
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers[name] = headers[name] + b", " + value if name in headers else value
        body = await _read(receive, headers, self._receiving.body_bytes_max)
        request = InboundRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()},
            body=body,
        )
        handshake = await self._receiving.receive(source_id, request)
        if handshake is not None:
            return handshake.status, handshake.body, handshake.content_type.encode()
        return 200, b'{"received":true}', b"application/json"


async def _read(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """The whole body. Raises TooLarge before reading what says it is too large, and while reading what is."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared[:20]) > bytes_max:
        raise TooLarge(f"the body may have at most {bytes_max} bytes")
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > bytes_max:
                raise TooLarge(f"the body may have at most {bytes_max} bytes")
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Malformed("the connection ended before the body did")
    if len(body) > bytes_max:
        raise TooLarge(f"the body may have at most {bytes_max} bytes")
    return body


def _require_json(headers: dict[bytes, bytes]) -> None:
    content_type = headers.get(b"content-type")
    if content_type is not None and content_type != b"application/json":
        media = content_type.partition(b";")[0].strip().lower()
        if media != b"application/json":
            raise UnsupportedMedia("publish with content-type: application/json")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMedia("a request's body is not compressed here")


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    key = _text(headers, b"idempotency-key")
    if key is not None and not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise Invalid.field("Idempotency-Key", f"must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters")
    return key


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _shown(event: Event, accepted: Accepted) -> bytes:
    """One answer, as the contract has it."""
    return b'{"id":"%b","type":"%b","subject":%b,"time":"%b","received_at":"%b","duplicate":%b,"deliveries":%d}' % (
        accepted.public_id.encode(),
        event.type.encode(),
        b"null" if event.subject is None else encode(event.subject),
        to_rfc3339(accepted.time_at).encode(),
        to_rfc3339(accepted.received_at).encode(),
        b"true" if accepted.duplicate else b"false",
        accepted.delivery_count,
    )
