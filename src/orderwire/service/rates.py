"""How many requests one key and one tenant may make: token buckets, a second's worth deep."""

from math import ceil

from orderwire.clock import SECOND, Clock
from orderwire.errors import TooManyRequests

BUCKETS_MAX = 100_000


class Rates:
    """Both limits at once. A limit of 0 is none."""

    def __init__(self, clock: Clock, *, per_key: float = 0, per_tenant: float = 0) -> None:
        """Requests a second, in the long run and at once."""
        self._clock = clock
        self._limits = (("key", per_key), ("tenant", per_tenant))
        self._limited = per_key > 0 or per_tenant > 0
        self._buckets: dict[tuple[str, str], tuple[float, int]] = {}

    def take(self, key_id: str, tenant: str) -> None:
        """Count one request. Raises TooManyRequests with the seconds to wait."""
        if not self._limited:
            return
        now = self._clock.now()
        for (name, limit), owner in zip(self._limits, (key_id, tenant), strict=True):
            if limit > 0:
                self._take(name, owner, limit, now)

    def _take(self, name: str, owner: str, limit: float, now: int) -> None:
        depth = max(1.0, limit)
        tokens, at = self._buckets.get((name, owner), (depth, now))
        tokens = min(depth, tokens + (now - at) / SECOND * limit)
        if tokens < 1:
            wait_s = max(1, ceil((1 - tokens) / limit))
            raise TooManyRequests(f"this {name} may make {limit:g} requests a second", retry_after_s=wait_s)
        if len(self._buckets) >= BUCKETS_MAX:
            self._buckets.clear()
        self._buckets[name, owner] = (tokens - 1, now)
