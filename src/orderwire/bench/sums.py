"""The sums of a run: what was sent, answered, received and stored, put side by side event by event.

An event counts only if it was answered 202, received by every destination with a valid signature, and
is in the store with a delivered attempt for each.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec

from orderwire.bench.payload import marker_figures


class Answered(msgspec.Struct, frozen=True):
    """One event of a 202."""

    id: str


class AnsweredBatch(msgspec.Struct, frozen=True):
    """A 202 to a batch."""

    data: list[Answered]


class Published(msgspec.Struct):
    """What the generator's log says."""

    planned: int = 0
    sent: int = 0
    accepted: dict[int, str] = {}  # seq -> event id
    refused: dict[str, int] = {}  # status -> events; "0": the connection broke, acceptance unknown
    first_ns: int = 0
    last_ns: int = 0  # of the last 202
    accepted_at: list[tuple[int, int]] = []  # (answered_ns, events), by time
    answer_ns: list[int] = []  # from sent to answered, per request
    late_ns: list[int] = []  # from due to written, per request


class Received(msgspec.Struct):
    """What the receiver's log says of accepted events; only the first webhook of each is looked at twice."""

    first_at: dict[tuple[int, int], int] = {}  # (destination, seq) -> received_ns
    latency_ns: list[int] = []
    duplicates: int = 0
    unknown: int = 0  # valid, but not an event this run was answered 202 for
    strange: int = 0  # the webhook-id is not the id of the 202


def read_published(log: bytes, batch: int) -> Published:
    """Read the generator's log."""
    lines = log.split(b"\n")
    found = Published(planned=int(lines[0]))
    first_ns, accepted_at = [], []
    for line in lines[1:]:
        seq, sent_ns, written_ns, answered_ns, status, body = line.split(b" ", 5)
        found.sent += batch
        first_ns.append(int(sent_ns))
        found.late_ns.append(int(written_ns) - int(sent_ns))
        if status != b"202":
            name = status.decode()
            found.refused[name] = found.refused.get(name, 0) + batch
            continue
        found.answer_ns.append(int(answered_ns) - int(sent_ns))
        accepted_at.append((int(answered_ns), batch))
        found.accepted.update(zip(range(int(seq), int(seq) + batch), _ids(body, batch), strict=True))
    found.accepted_at = sorted(accepted_at)
    found.first_ns = min(first_ns, default=0)
    found.last_ns = found.accepted_at[-1][0] if accepted_at else found.first_ns
    return found


def read_received(log: bytes, accepted: Mapping[int, str]) -> Received:
    """Read the receiver's log."""
    found = Received()
    for line in log.splitlines():
        place, received_ns, webhook_id, marker = line.split(b" ", 3)
        seq, sent_ns = marker_figures(marker)
        if seq not in accepted:
            found.unknown += seq > 0
        elif accepted[seq] != webhook_id.decode():
            found.strange += 1
        elif (int(place), seq) in found.first_at:
            found.duplicates += 1
        else:
            found.first_at[int(place), seq] = int(received_ns)
            found.latency_ns.append(int(received_ns) - sent_ns)
    return found


def counted(
    published: Published, received: Received, stored: Mapping[str, tuple[int, int]], destinations: int
) -> tuple[int, int, int]:
    """(events that count, accepted but not received everywhere, received but not in the store everywhere)."""
    good = lost = unstored = 0
    for seq, event in published.accepted.items():
        if any((place, seq) not in received.first_at for place in range(destinations)):
            lost += 1
        elif stored.get(event, (0, 0))[0] < destinations:
            unstored += 1
        else:
            good += 1
    return good, lost, unstored


def backlog(published: Published, received: Received, destinations: int, shares: Sequence[float]) -> list[int]:
    """Deliveries accepted and not yet received, at each share (0..1) of the time from first to last."""
    received_at = sorted(received.first_at.values())
    answered_at = [at_ns for at_ns, _ in published.accepted_at]
    accepted_until = [0, *accumulate(events for _, events in published.accepted_at)]
    found = []
    for share in shares:
        at_ns = published.first_ns + round(share * (published.last_ns - published.first_ns))
        accepted = accepted_until[bisect_right(answered_at, at_ns)] * destinations
        found.append(max(0, accepted - bisect_right(received_at, at_ns)))
    return found


def percentile_ms(values_ns: Sequence[int], share: float) -> float:
    """The value below which `share` of the sorted `values_ns` lie, in milliseconds; 0 of none."""
    if not values_ns:
        return 0.0
    return round(values_ns[min(len(values_ns) - 1, int(share * len(values_ns)))] / 1e6, 3)


def _ids(body: bytes, batch: int) -> list[str]:
    if batch == 1:
        return [msgspec.json.decode(body, type=Answered).id]
    return [event.id for event in msgspec.json.decode(body, type=AnsweredBatch).data]
