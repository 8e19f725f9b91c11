"""How fast: one token bucket a rate-limited lane."""

from orderwire.clock import SECOND
from orderwire.model import RateLimit


class TokenBucket:
    """`per_second` tokens a second flow in, up to the capacity; each attempt takes one."""

    __slots__ = ("_capacity", "_per_us", "_tokens", "_updated_at")

    def __init__(self, limit: RateLimit, now: int) -> None:
        """A full bucket."""
        self._per_us = limit.per_second / SECOND
        self._capacity = limit.capacity
        self._tokens = self._capacity
        self._updated_at = now

    def take(self, now: int) -> bool:
        """Take one token if there is one."""
        self._flow(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def next_at(self, now: int) -> int:
        """When there will be a token."""
        self._flow(now)
        return now if self._tokens >= 1 else now + int((1 - self._tokens) / self._per_us) + 1

    def _flow(self, now: int) -> None:
        if now > self._updated_at:
            self._tokens = min(self._capacity, self._tokens + (now - self._updated_at) * self._per_us)
            self._updated_at = now
