"""When to try again."""

import random

from orderwire.clock import SECOND

JITTER = 0.1
RETRY_AFTER_S_MAX = 86_400


def next_due(schedule_s: tuple[float, ...], attempts_made: int, now: int) -> int | None:
    """When the attempt after `attempts_made` is due (microseconds), None when the schedule is used up.

    Every delay but the first varies by +-10 %, so that what failed together does not come back together.
    """
    if attempts_made >= len(schedule_s):
        return None
    delay_s = schedule_s[attempts_made]
    if attempts_made:
        delay_s *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, hides nothing
    return now + round(delay_s * SECOND)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header in its number form, at most a day; None where absent or not understood.

    The date form needs a shared clock with the receiver and is read by `delivery.attempt` through `email.utils`.
    """
    if value is None or not value.strip().isdecimal():
        return None
    return float(min(int(value.strip()[:9]), RETRY_AFTER_S_MAX))
