"""What `orderwire doctor` asks the node: is it there, ready, ours, on time, and are its lanes well."""

from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from orderwire.cli.checks import Finding, Mark
from orderwire.cli.client import Answer, Node, segment
from orderwire.cli.failures import Failure, Refused, Unreachable
from orderwire.cli.options import Paging, Reach, instant
from orderwire.cli.output import fetch
from orderwire.clock import SECOND, SystemClock

SKEW_S_WARN, SKEW_S_FAIL = 5, 60  # receivers refuse signatures 300 s off
LANES_ASKED_MAX = 500
STATS_SPAN, SUCCESS_RATE_MIN = "1h", 0.9


def look_at_node(at: Reach) -> list[Finding]:
    """Reachable, ready, key, clock, destinations."""
    try:
        node = at.node()
        health = node.ask("GET", "/healthz")
        findings = [_health(node, health), _clock(health), _ready(node.ask("GET", "/readyz"))]
        return [*findings, *_destinations(node)]
    except Unreachable as failure:
        return [Finding(Mark.FAIL, "node", failure.lines[0], "\n       ".join(failure.lines[1:]))]
    except Failure as failure:
        return [Finding(Mark.FAIL, "node", failure.lines[0], "; ".join(failure.lines[1:]))]


def _health(node: Node, answer: Answer) -> Finding:
    if answer.status != 200:
        return Finding(
            Mark.FAIL, "node", f"{node.url}/healthz answers {answer.status}", "is --url right? else see its log"
        )
    if node.url.startswith("http://") and not node.is_near:
        return Finding(Mark.WARN, "node", f"{node.url} answers", "keys travel in the clear: use https://")
    return Finding(Mark.OK, "node", f"{node.url} answers")


def _clock(answer: Answer) -> Finding:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Finding(Mark.WARN, "clock", "the node's answer has no Date", "compare its clock by hand")
    skew_s = abs(SystemClock().now() / SECOND - theirs)
    found = f"the node's clock is within {max(1, round(skew_s))} s of this machine's"
    if skew_s > SKEW_S_WARN:
        mark = Mark.FAIL if skew_s > SKEW_S_FAIL else Mark.WARN
        return Finding(
            mark, "clock", found.replace("within", "off by").replace(" of this", " from this"), "set both by NTP"
        )
    return Finding(Mark.OK, "clock", found)


def _ready(answer: Answer) -> Finding:
    if answer.status == 200:
        return Finding(Mark.OK, "ready", "it takes events")
    said = answer.body[:300].decode(errors="replace")
    return Finding(Mark.FAIL, "ready", f"/readyz answers {answer.status}: {said}", "see the node's log")


def _destinations(node: Node) -> list[Finding]:
    try:
        rows, _ = fetch(node, "/v1/destinations", Paging(all=True), {})
    except Refused as refused:
        next_step = refused.lines[-1] if refused.status == 401 else "use a key that may read destinations"
        return [Finding(Mark.FAIL, "key", refused.lines[0], next_step)]
    findings = [Finding(Mark.OK, "key", "valid")]
    lanes = [msgspec.json.decode(row) for row in rows]
    ill = [finding for lane in lanes[:LANES_ASKED_MAX] for finding in _lane(node, lane)]
    if not lanes:
        ill = [
            Finding(Mark.WARN, "destinations", "there are none: events go nowhere", "orderwire destinations create URL")
        ]
    return [*findings, *(ill or [Finding(Mark.OK, "destinations", f"all {len(lanes)} are well")])]


def _lane(node: Node, lane: dict[str, Any]) -> list[Finding]:
    """A destination that does not deliver: by its state, else by how its attempts of the last hour went."""
    id, state = lane["id"], lane.get("state")
    subject = f"destination {id} ({lane.get('name', '')})"
    if state == "disabled":
        why = lane.get("disabled_reason") or "no reason given"
        return [Finding(Mark.FAIL, subject, f"disabled: {why}", f"mend it, then: orderwire destinations resume {id}")]
    if state == "paused":
        return [Finding(Mark.WARN, subject, "paused: its deliveries wait", f"orderwire destinations resume {id}")]
    stats = msgspec.json.decode(node.get(f"/v1/destinations/{segment(id)}/stats", since=instant(STATS_SPAN)))
    see = f"orderwire deliveries list --destination {id} --status retrying"
    if stats.get("breaker_open"):
        return [Finding(Mark.FAIL, subject, "its breaker is open: it fails again and again", see)]
    if stats.get("hold_until"):
        return [Finding(Mark.WARN, subject, f"it asked to be left alone until {stats['hold_until']}", see)]
    rate = stats.get("success_rate")
    if rate is not None and rate < SUCCESS_RATE_MIN:
        tries = f"only {rate:.0%} of {stats.get('attempts')} attempts succeeded in the last {STATS_SPAN}"
        return [Finding(Mark.WARN, subject, tries, see)]
    return []
