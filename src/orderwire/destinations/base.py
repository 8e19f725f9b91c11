"""What every kind of destination says of itself."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class Guarantee(StrEnum):
    """What a repeated delivery does to the receiver (CONTRACT, guarantees 2 and 3)."""

    IDEMPOTENT = "idempotent"  # the receiver can drop a repeat
    AT_MOST_ONCE = "at_most_once"  # a repeat would be seen: an intent is committed before sending
    OWNED = "owned"  # the effect is ours: applied once, in the transaction that finishes the delivery


class DestinationKind(Protocol):
    """A kind's form and rules. `url_fields` name config fields whose address the service checks."""

    kind: str
    title: str
    guarantee: Guarantee
    available: bool
    install_hint: str | None
    url_fields: tuple[str, ...]

    @property
    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of the config, for forms; secret fields are `writeOnly`."""
        ...

    def secret_fields(self, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Paths of the secrets present in a config: sealed at rest, shown as `***`."""
        ...

    def validate(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config with its defaults. Raises Invalid naming fields as `config.url`."""
        ...

    def secret_scheme(self, config: Mapping[str, Any]) -> str | None:
        """Which signing secret the node makes for it (`v1`, `v1a`), None for none."""
        ...
