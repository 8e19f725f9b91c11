"""Metrics in Prometheus form, counted in batches so that the hot path pays next to nothing.

Names follow the Prometheus conventions (unit last, `_total` for counters). Labels are few and bounded: never an id.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Metrics:
    """One node's meters. `watch` registers figures that are read when asked for."""

    def __init__(self) -> None:
        """A registry of its own: two nodes in one test process do not collide."""
        self.registry = CollectorRegistry()
        self._accepted = Counter(
            "orderwire_events_accepted", "events kept", ["origin"], registry=self.registry
        )
        self._duplicates = Counter(
            "orderwire_events_duplicate", "repeats answered but not kept", ["origin"], registry=self.registry
        )
        self._refused = Counter(
            "orderwire_requests_refused", "requests answered 4xx or 5xx", ["route", "status"], registry=self.registry
        )
        self._attempts = Counter("orderwire_attempts", "attempts ended", ["outcome"], registry=self.registry)
        self._exhausted = Counter(
            "orderwire_deliveries_failed", "deliveries given up", ["reason"], registry=self.registry
        )
        self._duration = Histogram(
            "orderwire_attempt_duration_seconds", "one attempt", buckets=SECONDS, registry=self.registry
        )
        self._swallowed = Counter(
            "orderwire_errors_swallowed", "errors handled without failing a caller", ["where"], registry=self.registry
        )

    def accepted(self, origin: str, new: int, duplicates: int) -> None:
        """Events of one request: kept, and repeats."""
        if new:
            self._accepted.labels(origin).inc(new)
        if duplicates:
            self._duplicates.labels(origin).inc(duplicates)

    def refused(self, route: str, status: int) -> None:
        """A request answered with an error."""
        self._refused.labels(route, str(status)).inc()

    def attempted(self, outcomes: Iterable[str], durations_ms: Iterable[float]) -> None:
        """A batch of ended attempts."""
        for outcome, count in Tally(outcomes).items():
            self._attempts.labels(outcome).inc(count)
        for duration_ms in durations_ms:
            self._duration.observe(duration_ms / 1000)

    def failed(self, reason: str) -> None:
        """A delivery was given up."""
        self._exhausted.labels(reason).inc()

    def swallowed(self, where: str) -> None:
        """An error was handled here and went no further."""
        self._swallowed.labels(where).inc()

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A figure that is read at each scrape."""
        Gauge(name, description, registry=self.registry).set_function(read)
