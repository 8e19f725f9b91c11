"""The result of a run: made out of the sums, told as a table for people and as one JSON line for programs."""

from datetime import UTC, datetime
from typing import Self

import msgspec
from rich.console import Console
from rich.table import Table

from orderwire.bench.machine import Machine
from orderwire.bench.options import BenchOptions
from orderwire.bench.sums import Published, Received, backlog, counted, percentile_ms

_WORTH_A_WARNING = 0.1  # cores taken by others during the load
_LATE_MS = 5.0
_SHARES = (0.25, 0.5, 0.75, 1.0)


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p99: float
    max: float


class Spent(msgspec.Struct, frozen=True):
    """What the run took, from the first publish to the last receive."""

    node_us: int  # CPU, children included
    generator_us: int
    receiver_us: int
    others_us: int  # of every other process of the machine
    duration_ns: int
    node_memory_bytes: int  # peak resident, of the whole life of the node, children included
    first_delivery_ns: int  # from starting the node to its first delivered event


class Costs(msgspec.Struct, frozen=True):
    """What one event took, in CPU microseconds; and the rest of `Spent`."""

    node_us: float
    generator_us: float
    receiver_us: float
    others_cores: float
    node_memory_mb: float
    first_delivery_s: float

    @classmethod
    def of(cls, spent: Spent, events: int) -> Self:
        """Divide by the events that count."""
        share = max(1, events)
        return cls(
            node_us=round(spent.node_us / share, 1),
            generator_us=round(spent.generator_us / share, 1),
            receiver_us=round(spent.receiver_us / share, 1),
            others_cores=round(spent.others_us * 1000 / spent.duration_ns, 2),
            node_memory_mb=round(spent.node_memory_bytes / 1e6, 1),
            first_delivery_s=round(spent.first_delivery_ns / 1e9, 3),
        )


class Counts(msgspec.Struct, frozen=True):
    """Events, but for `duplicates` and `invalid`, which are webhooks."""

    sent: int
    accepted: int
    counted: int
    refused: dict[str, int]
    unsent: int
    lost: int
    unstored: int
    invalid: int
    duplicates: int
    unknown: int
    strange: int


class BenchResult(msgspec.Struct, frozen=True):
    """One run. `broken` names every sum that does not hold; empty is success."""

    at: str
    version: str
    machine: Machine
    options: dict[str, float]
    events_per_s: float
    accepted_per_s: float
    latency_ms: Latency  # publish to receive
    answer_ms: Latency  # publish to 202
    late_ms: Latency  # due to written: the generator's own share of the above, with --rate
    backlog: list[int]  # deliveries accepted and not yet received at 25, 50, 75 and 100 % of the load
    drain_s: float
    costs: Costs
    counts: Counts
    broken: list[str]


def sum_up(
    options: BenchOptions,
    version: str,
    machine: Machine,
    spent: Spent,
    logs: tuple[Published, Received],
    stored: dict[str, tuple[int, int]],
    invalid: int,
) -> BenchResult:
    """Put everything side by side."""
    published, received = logs
    good, lost, unstored = counted(published, received, stored, options.destinations)
    counts = Counts(
        sent=published.sent,
        accepted=len(published.accepted),
        counted=good,
        refused=published.refused,
        unsent=published.planned - published.sent,
        lost=lost,
        unstored=unstored,
        invalid=invalid,
        duplicates=received.duplicates,
        unknown=received.unknown,
        strange=received.strange,
    )
    last_ns = max(received.first_at.values(), default=published.first_ns)
    return BenchResult(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version,
        machine=machine,
        options={
            "seconds": options.seconds,
            "batch": options.batch,
            "rate": options.rate,
            "connections": options.connections_open,
            "payload_bytes": options.payload_bytes,
            "destinations": options.destinations,
        },
        events_per_s=_per_s(good, last_ns - published.first_ns),
        accepted_per_s=_per_s(len(published.accepted), published.last_ns - published.first_ns),
        latency_ms=_latency(received.latency_ns),
        answer_ms=_latency(published.answer_ns),
        late_ms=_latency(published.late_ns),
        backlog=backlog(published, received, options.destinations, _SHARES),
        drain_s=round(max(0, last_ns - published.last_ns) / 1e9, 3),
        costs=Costs.of(spent, good),
        counts=counts,
        broken=_broken(counts),
    )


def show(result: BenchResult, console: Console) -> None:
    """The table."""
    costs, counts, machine = result.costs, result.counts, result.machine
    options = ", ".join(f"{name} {value:g}" for name, value in result.options.items())
    table = Table(title=f"Orderwire {result.version}: {options}", title_justify="left", show_header=False)
    rows = {
        "events/s, end to end": f"[bold]{result.events_per_s:,.0f}[/]",
        "accepted/s": f"{result.accepted_per_s:,.0f}",
        "publish to receive": _told(result.latency_ms),
        "publish to 202": _told(result.answer_ms),
        "backlog at 25, 50, 75, 100 %": ", ".join(f"{count:,}" for count in result.backlog),
        "drained after": f"{result.drain_s:.3f} s",
        "CPU per event": f"node {costs.node_us:.1f} us, generator {costs.generator_us:.1f} us, "
        f"receiver {costs.receiver_us:.1f} us",
        "peak memory of the node": f"{costs.node_memory_mb:.0f} MB",
        "start to first delivery": f"{costs.first_delivery_s:.2f} s",
        "sent, accepted, counted": f"{counts.sent:,}, {counts.accepted:,}, {counts.counted:,}",
        "refused": ", ".join(f"{count:,} by {status}" for status, count in counts.refused.items()) or "0",
        "lost, not stored, invalid": f"{counts.lost:,}, {counts.unstored:,}, {counts.invalid:,}",
        "duplicates": f"{counts.duplicates:,}",
        "machine": f"{machine.cores} cores, {machine.cpu}, Linux {machine.kernel}, "
        f"Python {machine.python}, data on {machine.filesystem}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for warning in _warnings(result):
        console.print(f"[yellow]note:[/] {warning}")
    for sentence in result.broken:
        console.print(f"[bold red]does not hold:[/] {sentence}")


def _warnings(result: BenchResult) -> list[str]:
    found = []
    if result.costs.others_cores > _WORTH_A_WARNING:
        found.append(f"other processes kept {result.costs.others_cores:.2f} cores busy: the figures are too low")
    if _grew(result):
        found.append("the backlog grew: the node took events faster than it delivered them")
    if result.machine.filesystem in {"tmpfs", "ramfs"}:
        found.append(f"the data lay on {result.machine.filesystem}: fsync cost nothing")
    if result.options["rate"] and result.late_ms.p99 > _LATE_MS:
        found.append(f"the generator itself was late by {result.late_ms.p99:.1f} ms (p99)")
    return found


def _grew(result: BenchResult) -> bool:
    """Whether the backlog went on growing in the second half, to more than half a second's work."""
    _, half, _, end = result.backlog
    return end > half * 1.5 and end > result.events_per_s * result.options["destinations"] / 2


def _broken(counts: Counts) -> list[str]:
    checks = {
        "no event was counted": counts.counted == 0,
        f"{counts.lost} accepted events were not received": counts.lost > 0,
        f"{counts.unstored} received events have no delivered attempt in the store": counts.unstored > 0,
        f"{counts.invalid} webhooks had no valid signature": counts.invalid > 0,
        f"{counts.strange} webhooks carried another id than the 202": counts.strange > 0,
        f"{counts.unsent} events were due and never sent: the node did not keep up": counts.unsent > 0,
    }
    return [sentence for sentence, holds in checks.items() if holds]


def _per_s(events: int, duration_ns: int) -> float:
    return round(events * 1e9 / duration_ns, 1) if duration_ns > 0 else 0.0


def _latency(values_ns: list[int]) -> Latency:
    values = sorted(values_ns)
    return Latency(percentile_ms(values, 0.5), percentile_ms(values, 0.99), percentile_ms(values, 1.0))


def _told(latency: Latency) -> str:
    return f"p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms, max {latency.max:.1f} ms"
