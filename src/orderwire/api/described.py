"""By hand: the raw hot routes (publishing, receiving), and what a webhook destination receives."""

from typing import Any

from orderwire.model import (
    EVENT_TYPE_CHARS_MAX,
    EVENT_TYPE_PATTERN,
    SUBJECT_CHARS_MAX,
    SUPPLIED_ID_PATTERN,
)

_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_ANY: dict[str, Any] = {"description": "Any JSON; kept and delivered byte for byte"}
_TYPE = {"type": "string", "pattern": EVENT_TYPE_PATTERN, "maxLength": EVENT_TYPE_CHARS_MAX}


def _object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


PUBLIC_SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": _STRING,
            "title": _STRING,
            "status": {"type": "integer"},
            "detail": _STRING,
            "errors": {"type": "array", "items": _object("path message", path=_STRING, message=_STRING)},
        },
    },
    "PublishedEvent": _object(
        "type data",
        type={**_TYPE, "description": "Not `orderwire.*`: those are the node's own"},
        data=_ANY,
        id={"type": "string", "pattern": SUPPLIED_ID_PATTERN, "description": "Its id, unique per tenant"},
        subject={"type": "string", "minLength": 1, "maxLength": SUBJECT_CHARS_MAX},
        time=_TIME,
        destination={"type": "string", "description": "Send to this one only, whatever its types and filter"},
    ),
    "Batch": _object(
        "events",
        events={
            "type": "array",
            "minItems": 1,
            "maxItems": 1000,
            "items": {"$ref": "#/components/schemas/PublishedEvent"},
        },
    ),
    "AcceptedEvent": _object(
        "id type subject time received_at duplicate deliveries",
        id=_STRING,
        type=_TYPE,
        subject={"type": ["string", "null"]},
        time=_TIME,
        received_at=_TIME,
        duplicate={"type": "boolean", "description": "The same was accepted before; nothing new is delivered"},
        deliveries={"type": "integer"},
    ),
    "AcceptedBatch": _object("data", data={"type": "array", "items": {"$ref": "#/components/schemas/AcceptedEvent"}}),
    "WebhookMessage": _object(
        "id type timestamp subject",
        id=_STRING,
        type=_TYPE,
        timestamp=_TIME,
        subject={"type": ["string", "null"]},
        data=_ANY,
    ),
}

_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and content again: no second delivery; other content: 409",
}
_CONFLICT = {
    "description": "The id or Idempotency-Key was used with other content",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def _publish(name: str, summary: str, body: str, accepted: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["events"],
        "summary": summary,
        "parameters": [_IDEMPOTENCY],
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {
            "202": {"description": "Kept: committed and synced to disk", "content": _json(accepted)},
            "409": _CONFLICT,
        },
    }


def _receive(method: str, summary: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"receive_{method}",
        "tags": ["sources"],
        "summary": summary,
        "security": [],
        "parameters": [{"name": "source", "in": "path", "required": True, "schema": _STRING}],
        "responses": {"200": {"description": "On disk, or a handshake answered"}},
    }
    for status, meaning in (
        ("400", "The body is not what its kind sends"),
        ("401", "The signature is not right"),
        ("404", "No such source"),
        ("405", "This kind has no such handshake"),
        ("413", "Too large"),
        ("415", "Compressed"),
        ("429", "Too many wrong signatures; with Retry-After"),
    ):
        operation["responses"][status] = {
            "description": meaning,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    if method == "post":
        operation["requestBody"] = {"required": True, "content": {"*/*": {"schema": {}}}}
    return operation


PATHS: dict[str, dict[str, Any]] = {
    "/v1/events": {"post": _publish("event_publish", "Publish an event", "PublishedEvent", "AcceptedEvent")},
    "/v1/events/batch": {
        "post": _publish("event_publish_batch", "Publish up to 1,000 events, all or none", "Batch", "AcceptedBatch")
    },
    "/in/{source}": {
        "get": _receive("get", "A provider's handshake"),
        "post": _receive("post", "A provider's webhook, proven by its own signature"),
    },
}

WEBHOOKS: dict[str, Any] = {
    "event": {
        "post": {
            "operationId": "webhook_event",
            "summary": "What a webhook destination receives (Standard Webhooks 1.0)",
            "description": "2xx within `timeout_s` is delivered; 410 disables the destination; 429 and 503 with "
            "Retry-After hold it back; anything else is retried. With payload `thin` there is no `data`; with "
            "`cloudevents` it is a CloudEvents 1.0 event (application/cloudevents+json).",
            "parameters": [
                {"name": name, "in": "header", "required": True, "schema": schema, "description": text}
                for name, schema, text in (
                    ("webhook-id", _STRING, "The event's id, the same on every retry"),
                    ("webhook-timestamp", _STRING, "Unix seconds of this attempt"),
                    ("webhook-signature", _STRING, "`v1,BASE64` or `v1a,BASE64`, several with spaces between"),
                )
            ],
            "requestBody": {"required": True, "content": _json("WebhookMessage")},
            "responses": {"2XX": {"description": "Delivered"}},
        }
    }
}
