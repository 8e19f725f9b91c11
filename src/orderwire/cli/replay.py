"""`orderwire replay`: a destination's events of a span of time, sent again."""

import msgspec

from orderwire.cli.client import segment
from orderwire.cli.options import HERE, Reach, instant
from orderwire.cli.output import counted, show_done


def replay(
    destination: str,
    /,
    *,
    since: str,
    until: str | None = None,
    status: str | None = None,
    types: tuple[str, ...] | None = None,
    force: bool = False,
    at: Reach = HERE,
) -> None:
    """Send a destination a span of its events again, each exactly once.

    Chooses by each event's latest delivery to this destination, and leaves out those still on their way.

    Parameters
    ----------
    destination
        Where to.
    since
        Events received at or after: 2026-11-23T20:01:18Z, 2026-11-23, or how long ago: 90m, 2d.
    until
        Events received before, written the same way; by default until now.
    status
        Those whose latest delivery is in this state; by default failed.
    types
        Only these types, 'order.*' too; may be given several times.
    force
        Also what was delivered already and the kind cannot drop a repeat.
    """
    body = {
        "since": instant(since),
        "until": instant(until),
        "status": status,
        "types": list(types) if types else None,
        "force": force or None,
    }
    answer = at.node().call(
        "POST",
        f"/v1/destinations/{segment(destination)}/replays",
        {name: value for name, value in body.items() if value is not None},
    )
    job = msgspec.json.decode(answer)
    count = job["count"]
    none = f"nothing to send again: no event of that span is {status or 'failed'} there; see --status"
    show_done(answer, at, f"{counted(count, 'event')} being sent again ({job['id']})" if count else none)
