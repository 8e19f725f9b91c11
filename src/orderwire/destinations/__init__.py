"""The kinds of destinations: one file each, all in `KINDS`. To add one: write the file, add it here.

A kind says which fields its config has, which of them are secret, and what a repeat of a delivery means to it.
"""

from collections.abc import Mapping
from typing import Any

from orderwire.destinations.base import DestinationKind, Guarantee
from orderwire.destinations.webhook import WebhookKind

KINDS: Mapping[str, DestinationKind] = {kind.kind: kind for kind in (WebhookKind(),)}

__all__ = ["KINDS", "DestinationKind", "Guarantee", "secret_paths"]


def secret_paths(kind: str, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Where in a config of `kind` the secrets are; () for a kind that is not installed."""
    known = KINDS.get(kind)
    return known.secret_fields(config) if known else ()
