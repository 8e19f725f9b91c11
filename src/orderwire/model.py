"""The nouns: what every room of the house passes to the next.

Values only, no behaviour beyond what a value can say of itself. Instants are integer microseconds since the
Unix epoch, UTC, named `_at`; the API turns them into RFC 3339 at its edge (docs/decisions/0003).
"""

from enum import StrEnum
from typing import Any

import msgspec

DEFAULT_TENANT = "default"

# Schedule in seconds before each attempt; the first is at once. Standard Webhooks 1.0, "Deliverability".
RETRY_SCHEDULE_S: tuple[float, ...] = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)

EVENT_TYPE_PATTERN = r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"
EVENT_TYPE_CHARS_MAX = 128
SUBJECT_CHARS_MAX = 256
SUPPLIED_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
OPERATIONAL_PREFIX = "orderwire."
BODY_KEPT_BYTES_MAX = 16 * 1024


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every immutable value. Each subclass says `kw_only=True` itself: msgspec does not inherit it."""


class Role(StrEnum):
    """What a key may do; from all of it to next to nothing."""

    ADMIN = "admin"
    MANAGER = "manager"
    PUBLISHER = "publisher"
    READER = "reader"
    BROWSER = "browser"


class Trust(StrEnum):
    """How sure we are of where an event came from (COMMERCE.md 1.4)."""

    PUBLISHED = "published"
    VERIFIED = "verified"
    AUTHENTICATED = "authenticated"
    UNSIGNED = "unsigned"
    BROWSER = "browser"


class DeliveryStatus(StrEnum):
    """Where one event stands with one destination. `pending` and `retrying` are unfinished."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to the delivery by itself."""
        return self not in (DeliveryStatus.PENDING, DeliveryStatus.RETRYING)


class DestinationState(StrEnum):
    """Whether a lane sends. Paused and disabled lanes keep their deliveries waiting."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class Ordering(StrEnum):
    """`subject`: one subject's events one at a time, in acceptance order."""

    NONE = "none"
    SUBJECT = "subject"


class OnExhausted(StrEnum):
    """What an ordered lane does behind a head that failed for good."""

    CONTINUE = "continue"
    HOLD = "hold"


class Outcome(StrEnum):
    """Every way an attempt can end. One word for logs, metrics, the API and the people who read them."""

    DELIVERED = "delivered"  # 2xx, whole answer within the timeout
    REJECTED = "rejected"  # any other status
    REDIRECTED = "redirected"  # 3xx: not followed
    GONE = "gone"  # 410: the receiver wants no more
    THROTTLED = "throttled"  # 429 or 503 with Retry-After
    TIMEOUT = "timeout"
    CONNECT_FAILED = "connect_failed"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    BLOCKED_ADDRESS = "blocked_address"  # the egress guard said no
    CONNECTION_LOST = "connection_lost"
    BAD_ANSWER = "bad_answer"  # not HTTP, or headers too large
    BAD_REQUEST = "bad_request"  # we could not build the request (a broken config)
    ABORTED = "aborted"  # the node stopped first; costs no attempt of the schedule
    OUTCOME_UNKNOWN = "outcome_unknown"  # at-most-once kinds after a crash


class RateLimit(Value, frozen=True, kw_only=True):
    """At most `per_second` attempts a second in the long run, `burst` at once."""

    per_second: float
    burst: float | None = None

    @property
    def capacity(self) -> float:
        """Tokens the bucket holds: `burst`, by default a tenth of a second's worth and at least one."""
        return self.burst if self.burst is not None else max(1.0, self.per_second / 10)


class Retry(Value, frozen=True, kw_only=True):
    """Delays in seconds, one before each attempt."""

    schedule_s: tuple[float, ...] = RETRY_SCHEDULE_S


class Secret(Value, frozen=True, kw_only=True):
    """One signing secret. `expires_at` is set while it only serves out a rotation's grace."""

    value: str
    created_at: int
    expires_at: int | None = None


class Destination(Value, frozen=True, kw_only=True):
    """Where events go: a kind, its config, which events, in what shape and how fast."""

    id: str
    tenant: str
    kind: str
    name: str
    events: tuple[str, ...]
    config: dict[str, Any]
    secrets: tuple[Secret, ...] = ()  # newest first
    filter: dict[str, Any] | None = None
    ordering: Ordering = Ordering.NONE
    on_exhausted: OnExhausted = OnExhausted.CONTINUE
    rate_limit: RateLimit | None = None
    concurrency: int = 10
    retry: Retry = Retry()
    state: DestinationState = DestinationState.ACTIVE
    disabled_reason: str | None = None
    created_at: int
    updated_at: int


class Source(Value, frozen=True, kw_only=True):
    """Where a provider's webhooks come in: a kind, its secrets, an ingest path."""

    id: str
    tenant: str
    kind: str
    name: str
    secrets: tuple[str, ...]
    config: dict[str, Any]
    created_at: int
    updated_at: int

    @property
    def ingest_path(self) -> str:
        """The path to give to the provider, below the node's public URL."""
        return f"/in/{self.id}"


class Tenant(Value, frozen=True, kw_only=True):
    """Whose events these are: one shop, or one customer of a platform."""

    id: str
    name: str
    created_at: int
    retention_days: int | None = None  # None: the node's setting


class ApiKey(Value, frozen=True, kw_only=True):
    """A key without the key: its SHA-256 alone is kept."""

    id: str
    tenant: str
    role: Role
    name: str
    key_hash: str
    created_at: int
    origins: tuple[str, ...] = ()  # browser keys only


class EventType(Value, frozen=True, kw_only=True):
    """One entry of a tenant's catalogue. `json_schema` is the schema's JSON text."""

    type: str
    tenant: str
    description: str = ""
    json_schema: str | None = None
    strict: bool = False
    created_at: int
    updated_at: int


class RawBody(Value, frozen=True, kw_only=True):
    """What a provider sent, byte for byte. `headers` is a JSON object, lower-case names."""

    content_type: str
    headers: str
    body: bytes


class DedupeKey(Value, frozen=True, kw_only=True):
    """An id that others chose. At most one event per (tenant, scope, key).

    `exact`: the same key with other content is a conflict (409); otherwise any repeat is a duplicate.
    """

    scope: str
    key: str
    exact: bool = False
    expires_at: int | None = None  # kept beyond retention until then (replay protection, DECISIONS.md 14)


class Event(Value, frozen=True, kw_only=True):
    """An immutable fact. `data` is the JSON text as received, never re-encoded."""

    id: str  # ours, UUIDv7: rows sort and partition by it
    tenant: str
    type: str
    data: bytes
    time_at: int
    received_at: int
    subject: str | None = None
    supplied_id: str | None = None  # the publisher's own
    source_id: str | None = None
    trust: Trust = Trust.PUBLISHED
    origin: str | None = None  # JSON object: provider, topic, delivery_id, ...
    keys: tuple[DedupeKey, ...] = ()
    content_hash: bytes = b""  # only computed where a key asks for it
    raw: RawBody | None = None

    @property
    def public_id(self) -> str:
        """The id users see, and the `webhook-id` of every delivery."""
        return self.supplied_id or self.id


class Delivery(Value, frozen=True, kw_only=True):
    """One event for one destination, as the log shows it."""

    id: str
    tenant: str
    event_id: str  # ours
    event: str  # public
    type: str
    subject: str | None
    destination: str
    status: DeliveryStatus
    reason: str | None
    attempt_count: int
    next_attempt_at: int | None
    created_at: int
    updated_at: int


class Attempt(Value, frozen=True, kw_only=True):
    """One try of a delivery: what was sent, what came back, how long it took."""

    id: str
    delivery: str
    number: int
    manual: bool
    started_at: int
    duration_ms: float
    outcome: Outcome
    status_code: int | None = None
    error: str | None = None
    response_headers: str | None = None  # the raw header block as it came, latin-1
    response_body: bytes = b""
    response_truncated: bool = False
    request_url: str = ""


class LaneHealth(Value, frozen=True, kw_only=True):
    """What a lane remembers of its failures; written only when it changes."""

    destination: str
    failing_since: int | None = None
    consecutive_failures: int = 0
    breaker_open: bool = False
    hold_until: int | None = None
