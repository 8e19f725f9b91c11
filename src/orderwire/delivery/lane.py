"""A lane: one destination's own queue, concurrency, rate limit, breaker and hold. No lane waits for another."""

from collections import deque

from orderwire.clock import SECOND
from orderwire.delivery import health as health_of
from orderwire.delivery.exchange import TlsOptions
from orderwire.delivery.limits import TokenBucket
from orderwire.destinations.webhook_request import WebhookPlan
from orderwire.model import Destination, DestinationState, LaneHealth, Ordering
from orderwire.store.base import Work

CLAIM_MAX = 100  # deliveries read back at once for one lane: about a millisecond

# Between two attempts of an open breaker. Without it an address that refuses at once, with many waiting, took 0.9 of
# a core for 560 attempts a second (make chaos, backlog); a receiver that comes back is noticed this much later.
BREAKER_REST = SECOND // 100


class Lane:
    """What a node knows of one destination while it runs.

    `ready`: owned deliveries in memory, next first. `backlog`: the store may hold unowned ones due now.
    `due_at`: when the first unowned one that is not yet due will be, as far as known.
    `reserved`: deliveries being committed that will be owned by this lane. `resting_until`: when the next attempt may
    begin while the breaker is open.
    """

    __slots__ = (
        "backlog",
        "bucket",
        "busy_subjects",
        "destination",
        "due_at",
        "health",
        "in_flight",
        "ordered",
        "plan",
        "ready",
        "reserved",
        "resting_until",
        "tls",
    )

    def __init__(self, destination: Destination, health: LaneHealth | None, now: int) -> None:
        """A lane as configured; `health` as it was remembered."""
        self.ready: deque[Work] = deque()
        self.in_flight = 0
        self.reserved = 0
        self.resting_until = 0
        self.backlog = False
        self.due_at: int | None = None
        self.busy_subjects: set[str] = set()
        self.health = health or LaneHealth(destination=destination.id)
        self.bucket: TokenBucket | None = None
        self.configure(destination, now, None)

    def configure(self, destination: Destination, now: int, before: Destination | None) -> None:
        """Take a changed configuration; what is queued or in flight stays."""
        self.destination = destination
        self.plan = WebhookPlan(destination)
        self.tls = _tls(self.plan)
        self.ordered = destination.ordering is Ordering.SUBJECT
        if before is None or before.rate_limit != destination.rate_limit:
            self.bucket = TokenBucket(destination.rate_limit, now) if destination.rate_limit else None

    @property
    def active(self) -> bool:
        """Whether it may send at all."""
        return self.destination.state is DestinationState.ACTIVE

    def closed_until(self, now: int) -> int | None:
        """When a receiver's Retry-After hold or an open breaker's rest ends; None when there is none."""
        health = self.health
        until = max(health.hold_until or 0, self.resting_until if health.breaker_open else 0)
        return until if until > now else None

    def room(self, now: int) -> int:
        """How many attempts may start now, the rate limit aside."""
        if not self.active or self.closed_until(now) is not None:
            return 0
        width = 1 if self.health.breaker_open else self.destination.concurrency
        return width - self.in_flight

    def appetite(self, now: int) -> int:
        """How many deliveries it would claim now."""
        room = self.room(now)
        if room <= 0:
            return 0
        width = 1 if self.health.breaker_open else 2 * self.destination.concurrency
        if self.bucket is not None and self.destination.rate_limit is not None:
            width = min(width, max(1, int(self.destination.rate_limit.per_second)))
        return min(CLAIM_MAX, width - len(self.ready) - self.reserved - self.in_flight)

    def may_hold(self, now: int) -> bool:
        """Whether a delivery being accepted may stay in memory instead of waiting in the store."""
        return not (
            self.backlog
            or not self.active
            or self.health.breaker_open
            or (self.health.hold_until is not None and self.closed_until(now) is not None)
        )

    def succeeded(self) -> LaneHealth | None:
        """Learn from a success; the new memory where it changed."""
        return self._learn(health_of.succeeded(self.health))

    def failed(self, now: int, hold_until: int | None) -> LaneHealth | None:
        """Learn from a failure; the new memory where it changed."""
        self.resting_until = now + BREAKER_REST
        return self._learn(health_of.failed(self.health, now, hold_until))

    def _learn(self, learnt: LaneHealth) -> LaneHealth | None:
        if learnt is self.health:
            return None
        self.health = learnt
        return learnt


def _tls(plan: WebhookPlan) -> TlsOptions | None:
    if plan.tls is None:
        return None
    pem = {name: value.encode() if value else None for name, value in plan.tls.items()}
    return TlsOptions(
        client_cert_pem=pem.get("client_cert"), client_key_pem=pem.get("client_key"), ca_pem=pem.get("ca")
    )
