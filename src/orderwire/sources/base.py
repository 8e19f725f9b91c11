"""The seam every source kind keeps: verify the request, answer a handshake, say what happened.

A kind is a value: a name, its config fields and a few pure functions. `ingest/webhook.py` calls them in the order
of SourceKind's fields. Recipe for the next kind: docs/adding-a-source.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from orderwire.clock import DAY
from orderwire.errors import FieldError, Invalid, Unauthorized
from orderwire.model import EVENT_TYPE_CHARS_MAX, DedupeKey, Source, Trust, Value

REPLAY_KEPT_DAYS = 90  # DECISIONS.md 14; longer than any provider's retries (Adyen: 30 days)
SECRETS_MAX = 10
SECRET_CHARS_MAX = 1_024
HEADER_CHARS_MAX = 512
UNKNOWN_TOPIC = "unknown_topic"


class InboundRequest(Value, frozen=True, kw_only=True):
    """A provider's request as it came. Header names lower-case; a repeated header's values joined by `, `."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, *names: str) -> str | None:
        """The first of the headers that is there and of a sensible length; surrounding blanks off."""
        for name in names:
            value = self.headers.get(name, "").strip()
            if 0 < len(value) <= HEADER_CHARS_MAX:
                return value
        return None


class Notice(Value, frozen=True, kw_only=True):
    """One thing the provider told us. `data` is JSON text; `time_at` None where it names no time.

    `origin` is kept with the event: the provider's ids and topic, and `normalisation_error` where there was one.
    """

    type: str
    data: bytes
    topic: str
    subject: str | None = None
    time_at: int | None = None
    origin: dict[str, Any] = msgspec.field(default_factory=dict)
    keys: tuple[DedupeKey, ...] = ()
    trust: Trust = Trust.VERIFIED


class Handshake(Value, frozen=True, kw_only=True):
    """What to answer where the provider only wants to know that we are there."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


class BadSignature(Unauthorized):
    """A proof we do not take. `reason` is for the log and never reaches the answer."""

    def __init__(self, reason: str) -> None:
        """`reason` names the part of the proof that failed; it must not hold a secret."""
        super().__init__("the request's signature was not accepted")
        self.reason = reason


class NoConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a kind that needs none."""


def no_handshake(source: Source, request: InboundRequest) -> Handshake | None:
    """For the kinds whose provider just starts sending."""


class Sign(Protocol):
    """Plays the provider for the demo, tests and `orderwire verify`: all headers of a true delivery of `body`."""

    def __call__(
        self, secret: str, body: bytes, now_us: int, *, topic: str = "", message_id: str = ""
    ) -> dict[str, str]:
        """Lower-case names. `topic` only where the provider names it in a header."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """One provider. `verify` raises BadSignature; `notices` gets the parsed body, numbers exact.

    `notices` refuses nothing for looking odd; it may raise BadSignature where body and unsigned headers disagree.
    """

    kind: str
    title: str
    config: type[msgspec.Struct] = NoConfig
    secret_hint: str
    check_secret: Callable[[str], str | None]  # what is wrong with it, or None
    handshake: Callable[[Source, InboundRequest], Handshake | None] = no_handshake
    verify: Callable[[Source, InboundRequest, int], None]
    notices: Callable[[Source, InboundRequest, Any, int], tuple[Notice, ...]]
    sign: Sign
    available: bool = True
    install_hint: str | None = None

    @property
    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of `config`; the dashboard draws its form from it."""
        return msgspec.json.schema(self.config)

    def validate_config(self, config: Mapping[str, Any], secrets: tuple[str, ...]) -> None:
        """Raises Invalid naming `config.FIELD` or `secrets[i]`."""
        try:
            msgspec.convert(config, self.config)
        except msgspec.ValidationError as error:
            raise _named(error) from error
        if not 0 < len(secrets) <= SECRETS_MAX:
            raise Invalid.field("secrets", f"give 1 to {SECRETS_MAX}: {self.secret_hint}")
        for number, secret in enumerate(secrets):
            wrong = _wrong_text(secret) or self.check_secret(secret)
            if wrong:
                raise Invalid.field(f"secrets[{number}]", f"{wrong}; {self.secret_hint}")


def foreign_type(kind: str, topic: str) -> str:
    """An event type for a topic nobody mapped: `shopify.orders_edited`, `stripe.invoice.sent`.

    Dots stay, camel case and every other separator become `_`. Never under a prefix of ours.
    """
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", topic).lower()
    parts = [re.sub(r"[^a-z0-9]+", "_", part).strip("_") for part in snake.split(".")]
    name = ".".join(part for part in parts if part) or UNKNOWN_TOPIC
    return f"{kind}.{name}"[:EVENT_TYPE_CHARS_MAX].rstrip("._")


def seen_once(source: Source, name: str, value: str, now_us: int) -> DedupeKey:
    """A key that lets `value` through this source once in REPLAY_KEPT_DAYS. `name` says what kind of id it is."""
    return DedupeKey(scope=f"source:{source.id}:{name}", key=value, expires_at=now_us + REPLAY_KEPT_DAYS * DAY)


def body_seen_once(source: Source, topic: str, body: bytes, now_us: int) -> DedupeKey:
    """The key for providers that sign no timestamp: one (source, topic, body) in REPLAY_KEPT_DAYS."""
    return seen_once(source, "body", f"{topic}:{sha256(body).hexdigest()}", now_us)


def _wrong_text(secret: str) -> str | None:
    if not secret or secret != secret.strip() or not secret.isprintable():
        return "empty, or with blanks or line ends around it"
    return "too long" if len(secret) > SECRET_CHARS_MAX else None


def _named(error: msgspec.ValidationError) -> Invalid:
    message, _, where = str(error).partition(" - at `$")
    path = "config" + where.rstrip("`")
    return Invalid(f"{path}: {message}", (FieldError(path, message),))
