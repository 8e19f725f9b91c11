"""Playing a provider: a source, a true request, and what comes of it."""

import json
from pathlib import Path
from typing import Any

import msgspec

from orderwire.clock import SECOND
from orderwire.ingest.webhook import InboundRequest, Received, receive
from orderwire.model import Event, Source
from orderwire.sources import KINDS

NOW = 1_795_464_078 * SECOND  # 2026-11-23T20:01:18Z
# Reference data that some checkouts have beside them: more cases, never needed ones.
SHARED = Path(__file__).parents[3] / "shared" / "data"

SECRETS = {
    "shopify": "a-client-secret",
    "stripe": "whsec_made_up_for_tests",
    "standard": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}


def a_source(kind: str, *secrets: str, **config: Any) -> Source:
    return Source(
        id="src_1",
        tenant="default",
        kind=kind,
        name=kind,
        secrets=secrets or (SECRETS[kind],),
        config=config,
        created_at=0,
        updated_at=0,
    )


def a_request(body: bytes, headers: dict[str, str]) -> InboundRequest:
    return InboundRequest(method="POST", path="/in/src_1", query="", headers=headers, body=body)


def take(source: Source, request: InboundRequest, now: int = NOW) -> Event:
    """The one event of a request that must be taken."""
    received = receive(source, KINDS[source.kind], request, now)
    assert isinstance(received, Received)
    (event,) = received.events
    return event


def told(kind: str, body: bytes | dict[str, Any], topic: str = "", source: Source | None = None) -> Event:
    """The event of a true delivery of `body`, signed now."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    source = source or a_source(kind)
    headers = KINDS[kind].sign(source.secrets[0], raw, NOW, topic=topic, message_id="msg_1")
    return take(source, a_request(raw, headers))


def data_of(event: Event) -> Any:
    return msgspec.json.decode(event.data)


def origin_of(event: Event) -> Any:
    return msgspec.json.decode(event.origin or "{}")


def vectors(provider: str) -> list[dict[str, Any]]:
    """The shared signature vectors of a provider; none where the folder is missing."""
    path = SHARED / "signature_vectors.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [one for one in known if one["provider"] == provider]


def samples(provider: str) -> list[Path]:
    """The shared sample bodies of a provider; none where the folder is missing."""
    return sorted((SHARED / "samples" / provider).glob("*.json"))


def flips(text: str) -> list[str]:
    """Every text with one character changed in its lowest bit."""
    return [text[:i] + chr(ord(c) ^ 1) + text[i + 1 :] for i, c in enumerate(text)]
