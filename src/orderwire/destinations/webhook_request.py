"""What a webhook destination receives: headers, body and signatures of Standard Webhooks 1.0.

As payload `cloudevents` the body is a CloudEvents 1.0 event in the JSON format's structured mode, signed alike.

A `WebhookPlan` is made once a change of configuration and holds all that does not vary; one delivery then costs a
splice of the body and a signature. `data` goes out byte for byte as it came in.
"""

from base64 import b64encode
from typing import Any

import msgspec

from orderwire import __version__
from orderwire.clock import SECOND, to_rfc3339
from orderwire.model import Destination, Event
from orderwire.signing import Signer, signed_prefix, signer

TIMEOUT_S_DEFAULT = 15.0
USER_AGENT = f"Orderwire/{__version__}"
MEDIA_TYPES = {"cloudevents": "application/cloudevents+json"}  # of the others: application/json

_encode = msgspec.json.encode


class WebhookPlan:
    """How to send to one destination as configured now."""

    __slots__ = ("_expiring", "_headers", "_payload", "_signers", "timeout_s", "tls", "url")

    def __init__(self, destination: Destination) -> None:
        """Prepare. Raises ValueError where a secret is not one (a broken row)."""
        config = destination.config
        self.url: str = config["url"]
        self.timeout_s = float(config.get("timeout_s") or TIMEOUT_S_DEFAULT)
        self.tls: dict[str, Any] | None = config.get("tls") or None
        self._payload: str = config.get("payload") or "standard"
        self._headers = [
            f"content-type: {MEDIA_TYPES.get(self._payload, 'application/json')}",
            f"user-agent: {USER_AGENT}",
            *_authorization(config.get("auth") or {}),
            *(f"{name}: {value}" for name, value in (config.get("headers") or {}).items()),
        ]
        self._signers: list[tuple[Signer, int | None]] = [
            (signer(secret.value), secret.expires_at) for secret in destination.secrets
        ]
        self._expiring = any(secret.expires_at is not None for secret in destination.secrets)

    def body(self, event: Event) -> bytes:
        """The JSON body: the envelope around the publisher's own bytes."""
        if self._payload == "cloudevents":
            return b"".join((_encode(_cloud_event(event))[:-1], b',"data":', event.data, b"}"))
        subject = b"null" if event.subject is None else _encode(event.subject)
        when = to_rfc3339(event.time_at)
        head = f'{{"id":"{event.public_id}","type":"{event.type}","timestamp":"{when}","subject":'.encode() + subject
        if self._payload == "thin":
            return head + b"}"
        return b"".join((head, b',"data":', event.data, b"}"))

    def headers(self, message_id: str, body: bytes, now: int) -> list[str]:
        """Complete header lines for a body sent at `now`, signed with every secret that is alive."""
        timestamp_s = now // SECOND
        prefix = signed_prefix(message_id, timestamp_s)
        if self._expiring:
            signers = [one for one, expires_at in self._signers if expires_at is None or expires_at > now]
        else:
            signers = [one for one, _ in self._signers]
        signatures = " ".join([one.sign(prefix, body) for one in signers])
        return [
            *self._headers,
            f"webhook-id: {message_id}",
            f"webhook-timestamp: {timestamp_s}",
            f"webhook-signature: {signatures}",
        ]


def _cloud_event(event: Event) -> dict[str, str]:
    """The attributes of a CloudEvent; `source` and `id` together are unique, as its specification asks."""
    attributes = {
        "specversion": "1.0",
        "id": event.public_id,
        "source": f"urn:orderwire:source:{event.source_id}"
        if event.source_id
        else f"urn:orderwire:tenant:{event.tenant}",
        "type": event.type,
        "time": to_rfc3339(event.time_at),
        "datacontenttype": "application/json",
    }
    return attributes if event.subject is None else attributes | {"subject": event.subject}


def _authorization(auth: dict[str, Any]) -> list[str]:
    if "bearer" in auth:
        return [f"authorization: Bearer {auth['bearer']}"]
    if "basic" in auth:
        pair = f"{auth['basic']['username']}:{auth['basic']['password']}".encode()
        return [f"authorization: Basic {b64encode(pair).decode('ascii')}"]
    return []
