"""Metrics in Prometheus form. Counting is a dictionary and an addition; the form is made when somebody asks.

Names follow the Prometheus conventions (unit last, `_total` for counters). Labels are few and bounded: never an id.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_BUCKETS_MS = tuple(bound * 1000 for bound in BUCKETS_S)


class Family(NamedTuple):
    """One counter: its name without `_total`, what it counts, and its labels."""

    name: str
    text: str
    labels: tuple[str, ...]


ACCEPTED = Family("orderwire_events_accepted", "events kept", ("origin",))
DUPLICATE = Family("orderwire_events_duplicate", "repeats answered but not kept", ("origin",))
REFUSED = Family("orderwire_requests_refused", "requests of the hot routes answered 4xx or 5xx", ("route", "status"))
ATTEMPTS = Family("orderwire_attempts", "attempts ended", ("outcome",))
FAILED = Family("orderwire_deliveries_failed", "deliveries given up", ("reason",))
SWALLOWED = Family("orderwire_errors_swallowed", "errors handled without failing a caller", ("where",))
FAMILIES = (ACCEPTED, DUPLICATE, REFUSED, ATTEMPTS, FAILED, SWALLOWED)


class Metrics:
    """One node's meters, in a registry of its own. `watch` adds figures that are read when asked for."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self._counts: dict[Family, dict[tuple[str, ...], int]] = {family: {} for family in FAMILIES}
        self._durations = [0] * (len(BUCKETS_S) + 1)
        self._duration_sum_ms = 0.0
        self._watched: list[tuple[str, str, Callable[[], float]]] = []
        self.registry.register(self)

    def accepted(self, origin: str, new: int, duplicates: int) -> None:
        """Events of one request: kept, and repeats."""
        if new:
            self._add(ACCEPTED, (origin,), new)
        if duplicates:
            self._add(DUPLICATE, (origin,), duplicates)

    def refused(self, route: str, status: int) -> None:
        """A request answered with an error."""
        self._add(REFUSED, (route, str(status)))

    def attempted(self, outcomes: Iterable[tuple[str, float]]) -> None:
        """Ended attempts: how, and how long each took in milliseconds."""
        counts, durations = self._counts[ATTEMPTS], self._durations
        for outcome, duration_ms in outcomes:
            counts[outcome,] = counts.get((outcome,), 0) + 1
            durations[bisect_left(_BUCKETS_MS, duration_ms)] += 1
            self._duration_sum_ms += duration_ms

    def failed(self, reason: str) -> None:
        """A delivery was given up."""
        self._add(FAILED, (reason,))

    def swallowed(self, where: str) -> None:
        """An error was handled here and went no further."""
        self._add(SWALLOWED, (where,))

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure that is read at each scrape; `_total` at its end makes it a counter."""
        self._watched.append((name, text, read))

    def collect(self) -> Iterator[Metric]:
        """All of it, for the registry."""
        for family, counts in self._counts.items():
            counter = CounterMetricFamily(family.name, family.text, labels=family.labels)
            for labels, count in counts.items():
                counter.add_metric(labels, count)
            yield counter
        histogram = HistogramMetricFamily("orderwire_attempt_duration_seconds", "one attempt")
        total, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], self._durations, strict=True):
            total += count
            buckets.append((bound, total))
        histogram.add_metric([], buckets, self._duration_sum_ms / 1000)
        yield histogram
        for name, text, read in self._watched:
            make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield make(name, text, read())

    def _add(self, family: Family, labels: tuple[str, ...], count: int = 1) -> None:
        counts = self._counts[family]
        counts[labels] = counts.get(labels, 0) + count
