"""How many requests one key and one tenant may make: token buckets, a second's worth deep."""

from math import ceil

from orderwire.clock import SECOND, Clock
from orderwire.errors import TooManyRequests

BUCKETS_MAX = 100_000


class Bucket:
    """Tokens of one key or tenant. A limit of 0 is none."""

    __slots__ = ("_at", "_limit", "_per_us", "_tokens", "_whose")

    def __init__(self, whose: str, limit: float, now: int) -> None:
        """Full. `whose` is the word for the refusal; `limit` in requests a second."""
        self._whose = whose
        self._limit = limit
        self._per_us = limit / SECOND
        self._tokens = max(1.0, limit)
        self._at = now

    def take(self, now: int) -> None:
        """Count one request. Raises TooManyRequests with the seconds to wait."""
        tokens = self._tokens + (now - self._at) * self._per_us
        self._at = now
        if tokens >= 1:
            self._tokens = min(tokens, max(1.0, self._limit)) - 1
            return
        self._tokens = tokens
        wait_s = max(1, ceil((1 - tokens) / self._limit))
        raise TooManyRequests(f"this {self._whose} may make {self._limit:g} requests a second", retry_after_s=wait_s)


class Rates:
    """The buckets of every key and tenant that called lately."""

    def __init__(self, clock: Clock, *, per_key: float = 0, per_tenant: float = 0) -> None:
        """Requests a second, in the long run and at once."""
        self._clock = clock
        self._limits = {"key": per_key, "tenant": per_tenant}
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def buckets(self, key_id: str, tenant: str) -> tuple[Bucket, ...]:
        """Those that a request of this key for this tenant counts in: a caller may keep them."""
        pairs = (("key", key_id), ("tenant", tenant))
        return tuple(self._bucket(whose, owner) for whose, owner in pairs if self._limits[whose] > 0)

    def _bucket(self, whose: str, owner: str) -> Bucket:
        found = self._buckets.get((whose, owner))
        if found is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._buckets.clear()
            found = self._buckets[whose, owner] = Bucket(whose, self._limits[whose], self._clock.now())
        return found
