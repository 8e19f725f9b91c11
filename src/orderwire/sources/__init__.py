"""Where provider webhooks come from: one file a provider, each a verified, normalised way in. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from orderwire.sources import shopify, standard, stripe
from orderwire.sources.base import SourceKind

KINDS: Mapping[str, SourceKind] = MappingProxyType(
    {kind.kind: kind for kind in (shopify.KIND, stripe.KIND, standard.KIND)}
)
