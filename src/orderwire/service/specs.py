"""What people write: one model a resource, for creating it and for changing it.

A PATCH is laid over what the resource reads as, and the result is validated as if it were being created; so there is
one set of rules. The API's OpenAPI document is made from these models too.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from orderwire.clock import from_rfc3339
from orderwire.faults import Like, refusal
from orderwire.model import (
    EVENT_TYPE_CHARS_MAX,
    EVENT_TYPE_PATTERN,
    RETRY_SCHEDULE_S,
    OnExhausted,
    Ordering,
    Role,
)
from orderwire.routing.matching import PATTERN_CHARS_MAX, PATTERN_REGEX
from orderwire.settings import RETENTION_DAYS_MAX, RETENTION_DAYS_MIN
from orderwire.sources.base import SECRET_CHARS_MAX, SECRETS_MAX

NAME_CHARS_MAX = 128
PATTERNS_MAX = 100
GRACE_S_DEFAULT, GRACE_S_MAX = 86_400, 30 * 86_400
DELAY_S_MAX = 7 * 86_400
ATTEMPTS_MAX = 50
ORIGINS_MAX = 50

S = TypeVar("S", bound="Spec")


def _moment(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("must be a time such as 2026-11-23T20:01:18Z")  # noqa: TRY004 - pydantic's way
    return from_rfc3339(value)


def _whole(value: object) -> object:
    """7.0 is an integer, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]
Moment = Annotated[int, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
# Without what ends a line or speaks to a terminal (C0, C1, U+2028 and U+2029): names are listed and logged.
_ONE_LINE = Like(r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$", "one line without control characters")
OneLine = Annotated[str, Field(max_length=NAME_CHARS_MAX), _ONE_LINE]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX), _ONE_LINE]
TypeName = Annotated[
    str, Field(max_length=EVENT_TYPE_CHARS_MAX), Like(EVENT_TYPE_PATTERN, "an event type, e.g. order.created")
]
TypePattern = Annotated[
    str,
    Field(max_length=PATTERN_CHARS_MAX),
    Like(PATTERN_REGEX, "an event type, e.g. order.created; order.* is all below order, * is all"),
]
TenantId = Annotated[str, Like(r"^[a-z0-9][a-z0-9_-]{0,63}$", "1 to 64 of a-z 0-9 _ -, e.g. acme")]
ProviderSecret = Annotated[str, Field(min_length=1, max_length=SECRET_CHARS_MAX)]
Delay = Annotated[float, Field(ge=0, le=DELAY_S_MAX)]
Origin = Annotated[
    str,
    Field(max_length=256),
    Like(r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", "an origin without a path, e.g. https://shop.example"),
]


class Spec(BaseModel):
    """Strict: no unknown fields, no guessed types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class RateLimitSpec(Spec):
    """At most so many attempts a second, in sum over all nodes."""

    per_second: Annotated[float, Field(ge=0.001, le=100_000)]
    burst: Annotated[float, Field(ge=1, le=100_000)] | None = None


class RetrySpec(Spec):
    """Delays in seconds, one before each attempt."""

    schedule_s: Annotated[list[Delay], Field(min_length=1, max_length=ATTEMPTS_MAX)] = list(RETRY_SCHEDULE_S)


class DestinationSpec(Spec):
    """Where events go, which ones, in what shape and how fast."""

    kind: Annotated[str, Field(min_length=1, max_length=64)]
    name: Name
    events: Annotated[list[TypePattern], Field(min_length=1, max_length=PATTERNS_MAX)]
    config: dict[str, Any]
    filter: dict[str, Any] | None = None
    ordering: Annotated[Ordering, Field(strict=False)] = Ordering.NONE
    on_exhausted: Annotated[OnExhausted, Field(strict=False)] = OnExhausted.CONTINUE
    rate_limit: RateLimitSpec | None = None
    concurrency: Annotated[Integer, Field(ge=1, le=1000)] = 10
    retry: RetrySpec = RetrySpec()


class SourceSpec(Spec):
    """Where a provider's webhooks come in."""

    kind: Annotated[str, Field(min_length=1, max_length=64)]
    name: Name
    secrets: Annotated[list[ProviderSecret], Field(max_length=SECRETS_MAX)] = []
    config: dict[str, Any] = {}


class EventTypeSpec(Spec):
    """What a type means, and what its `data` looks like. `strict`: refuse events that break the schema."""

    description: Annotated[str, Field(max_length=4096)] = ""
    json_schema: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    strict: bool = False


class TenantSpec(Spec):
    """One shop, or one customer of a platform."""

    id: TenantId
    name: Name
    retention_days: Annotated[Integer, Field(ge=RETENTION_DAYS_MIN, le=RETENTION_DAYS_MAX)] | None = None


class KeySpec(Spec):
    """A key to be made. `origins` are for browser keys, which need them."""

    tenant: TenantId
    role: Annotated[Role, Field(strict=False)]
    name: OneLine = ""
    origins: Annotated[list[Origin], Field(max_length=ORIGINS_MAX)] = []


class RotationSpec(Spec):
    """A new signing secret; the old ones sign on for `grace_s` seconds."""

    grace_s: Annotated[Integer, Field(ge=0, le=GRACE_S_MAX)] = GRACE_S_DEFAULT
    secret: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class TestSpec(Spec):
    """Which type the trial event has."""

    __test__ = False  # pytest: not a test

    type: TypeName = "orderwire.test"


class BulkReplaySpec(Spec):
    """Which of a destination's events to send again, by the state of each one's latest delivery."""

    since: Moment
    until: Moment | None = None
    status: Literal["failed", "delivered", "cancelled", "any"] = "failed"
    types: Annotated[list[TypePattern], Field(max_length=PATTERNS_MAX)] = []
    force: bool = False


class ReplaySpec(Spec):
    """Where to send one event again; by default to all that want it."""

    destination: Annotated[str, Field(max_length=64)] | None = None
    force: bool = False


def validated(spec: type[S], document: Mapping[str, Any]) -> S:
    """A document as a spec. Raises Invalid naming every field at fault."""
    try:
        return spec.model_validate(document)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)) from None


def overlaid(shown: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over what a resource reads as: null returns a field to its default, `config` is merged by field."""
    made = dict(shown)
    for name, value in changes.items():
        before = made.get(name)
        if name == "config" and isinstance(value, Mapping) and isinstance(before, Mapping):
            made[name] = {key: one for key, one in {**before, **value}.items() if one is not None}
        elif value is None:
            made.pop(name, None)
        else:
            made[name] = value
    return made
