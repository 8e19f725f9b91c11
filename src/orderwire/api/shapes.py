"""How resources read: one model each, which makes both the answer and its part of the OpenAPI document."""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from orderwire.clock import to_rfc3339
from orderwire.model import DeliveryStatus, Destination, DestinationState, Outcome, Role, Source
from orderwire.service import destinations as of_destinations
from orderwire.service import sources as of_sources
from orderwire.service.specs import DestinationSpec, RateLimitSpec, SourceSpec
from orderwire.service.statistics import Statistics

T = TypeVar("T")


def _time(value: object) -> object:
    return to_rfc3339(value) if isinstance(value, int) else value


def _raw(value: object) -> object:
    """JSON text, to go out byte for byte."""
    if isinstance(value, str):
        value = value.encode()
    return msgspec.Raw(value) if isinstance(value, bytes) else value


def _header_block(value: object) -> object:
    """Raw header lines as an object, names in lower case, repeated ones joined."""
    if not isinstance(value, str):
        return value
    headers: dict[str, str] = {}
    for line in value.splitlines():
        name, colon, text = line.partition(":")
        if colon and name.strip():
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {text.strip()}" if key in headers else text.strip()
    return headers


Time = Annotated[
    str, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
]
Json = Annotated[Any, BeforeValidator(_raw)]
Text = Annotated[
    str, BeforeValidator(lambda value: value.decode(errors="replace") if isinstance(value, bytes) else value)
]


class Shape(BaseModel):
    """Reads from our values by attribute."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def show(cls, value: object) -> dict[str, Any]:
        """A value as its JSON object."""
        return cls.model_validate(value).model_dump()


class Listing(BaseModel, Generic[T]):
    """One page, newest first. `next_cursor` continues; a page may be short, even empty, and still have one."""

    data: list[T]
    next_cursor: str | None


class EventListing(Listing[T], Generic[T]):
    """`searched_until`: how far back a search by `q` has looked so far."""

    searched_until: Time | None = None


class DeliveryShown(Shape):
    """One event for one destination."""

    id: str
    event: str
    type: str
    subject: str | None
    destination: str
    status: DeliveryStatus
    reason: str | None
    attempt_count: int
    next_attempt_at: Time | None
    created_at: Time
    updated_at: Time


class EventShown(Shape):
    """An immutable fact. `source`: the source it came in by; `origin`: what its provider said of it."""

    id: str = Field(validation_alias="public_id")
    type: str
    subject: str | None
    time: Time = Field(validation_alias="time_at")
    received_at: Time
    source: str | None = Field(validation_alias="source_id")
    trust: str
    origin: Json
    data: Json


class EventDetail(EventShown):
    """With its deliveries, newest first, at most 250; `GET /v1/deliveries?event=` has all."""

    deliveries: list[DeliveryShown] = []


class AttemptShown(Shape):
    """One try: what came back, and how long it took. `response_body` is what was kept of it, as text."""

    id: str
    delivery: str
    number: int
    manual: bool
    started_at: Time
    duration_ms: float
    outcome: Outcome
    status_code: int | None
    error: str | None
    request_url: str
    response_headers: Annotated[dict[str, str] | None, BeforeValidator(_header_block)]
    response_body: Text
    response_truncated: bool


class DestinationShown(DestinationSpec):
    """A destination as it reads; secret fields of `config` are `***`."""

    id: str
    rate_limit: RateLimitSpec | None
    state: DestinationState
    disabled_reason: str | None
    created_at: Time
    updated_at: Time

    @classmethod
    def show(cls, value: Destination) -> dict[str, Any]:
        """A destination as its JSON object."""
        shown = of_destinations.spec_of(value)
        if value.rate_limit is not None:
            shown["rate_limit"]["burst"] = value.rate_limit.capacity
        return {
            "id": value.id,
            **shown,
            "state": value.state,
            "disabled_reason": value.disabled_reason,
            "created_at": to_rfc3339(value.created_at),
            "updated_at": to_rfc3339(value.updated_at),
        }


class SecretsShown(BaseModel):
    """What a receiver verifies with: `whsec_` secrets of `v1`, `whpk_` public keys of `v1a`; `secret` is the newest."""

    secret: str | None
    secrets: list[str]


class JobShown(BaseModel):
    """What was asked, and how many deliveries it makes."""

    id: str
    count: int


class LatencyShown(BaseModel):
    """Milliseconds that so many of the attempts stayed below."""

    p50: float | None
    p95: float | None
    p99: float | None


class PointShown(Shape):
    """One step of the time series."""

    at: Time
    attempts: int
    delivered: int
    p95_ms: float | None


class StatsShown(BaseModel):
    """Attempts of one destination between two instants. `waiting`: unfinished deliveries now."""

    since: Time
    until: Time
    attempts: int
    outcomes: dict[str, int]
    success_rate: float | None
    latency_ms: LatencyShown
    waiting: int
    breaker_open: bool
    hold_until: Time | None
    step_s: int
    series: list[PointShown]

    @classmethod
    def show(cls, value: Statistics) -> dict[str, Any]:
        """Figures as their JSON object."""
        fields = msgspec.structs.asdict(value)
        fields["latency_ms"] = {name: fields.pop(f"{name}_ms") for name in ("p50", "p95", "p99")}
        fields["series"] = [PointShown.show(point) for point in value.series]
        return cls.model_validate(fields).model_dump()


class SourceShown(SourceSpec):
    """A source as it reads; its secrets are `***`. `ingest_path` is what its provider is given."""

    id: str
    ingest_path: str
    created_at: Time
    updated_at: Time

    @classmethod
    def show(cls, value: Source) -> dict[str, Any]:
        """A source as its JSON object."""
        return {
            "id": value.id,
            **of_sources.spec_of(value),
            "ingest_path": value.ingest_path,
            "created_at": to_rfc3339(value.created_at),
            "updated_at": to_rfc3339(value.updated_at),
        }


class EventTypeShown(Shape):
    """An entry of the catalogue."""

    type: str
    description: str
    json_schema: Json = Field(validation_alias="json_schema", serialization_alias="schema")
    strict: bool
    created_at: Time
    updated_at: Time

    @classmethod
    def show(cls, value: object) -> dict[str, Any]:
        """An entry as its JSON object."""
        return cls.model_validate(value).model_dump(by_alias=True)


class TenantShown(Shape):
    """A tenant. `retention_days` null: the node's setting."""

    id: str
    name: str
    retention_days: int | None
    created_at: Time


class KeyShown(Shape):
    """A key without the key."""

    id: str
    tenant: str
    role: Role
    name: str
    origins: list[str]
    created_at: Time


class KeyMade(KeyShown):
    """A new key: `key` is shown this once and not kept."""

    key: str = ""


class AuditShown(Shape):
    """Who changed or saw what."""

    id: str
    at: Time
    actor: str
    action: str
    resource: str
    detail: str


class KindShown(Shape):
    """A kind of source or destination; one whose extra is missing is listed too."""

    kind: str
    title: str
    config_schema: dict[str, Any]
    available: bool
    install_hint: str | None


class DestinationKindShown(KindShown):
    """`guarantee`: what a repeat means to the receiver."""

    guarantee: str
