"""What a lane learns from its attempts: breaker, hold, and when to give up on a destination. Pure."""

from orderwire.clock import DAY
from orderwire.model import LaneHealth

BREAKER_FAILURES = 10  # in a row; then one attempt in flight at a time until one succeeds
DISABLE_AFTER = 5 * DAY  # of nothing but failures


def succeeded(health: LaneHealth) -> LaneHealth:
    """After a success: all forgiven. The same object where there was nothing to forgive."""
    if not health.consecutive_failures and health.hold_until is None:
        return health
    return LaneHealth(destination=health.destination)


def failed(health: LaneHealth, now: int, hold_until: int | None) -> LaneHealth:
    """After a failure; `hold_until` where the receiver asked to be left alone until then."""
    if health.breaker_open and hold_until is None:
        return health
    count = min(health.consecutive_failures + 1, BREAKER_FAILURES)
    return LaneHealth(
        destination=health.destination,
        failing_since=now if health.failing_since is None else health.failing_since,
        consecutive_failures=count,
        breaker_open=count >= BREAKER_FAILURES,
        hold_until=hold_until if hold_until is not None else health.hold_until,
    )


def resumed(health: LaneHealth) -> LaneHealth:
    """After a person resumed the destination."""
    return LaneHealth(destination=health.destination)


def to_disable(health: LaneHealth, now: int) -> bool:
    """Whether it has only failed for so long that somebody must look."""
    return health.failing_since is not None and now - health.failing_since >= DISABLE_AFTER
