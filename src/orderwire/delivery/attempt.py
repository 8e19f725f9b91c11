"""One attempt, from a claimed delivery to the row that tells how it ended.

`run` is the whole story in four steps. It is a generator: it hands out the request and is resumed with the answer, so
that a node with thousands in flight has no task a delivery, and this file needs neither network nor store.
"""

from collections.abc import Callable, Generator
from email.utils import parsedate_to_datetime

import msgspec
import structlog

from orderwire.clock import SECOND, Clock
from orderwire.delivery.exchange import HttpAnswer, HttpRequest, SendError
from orderwire.delivery.lane import Lane
from orderwire.delivery.retry import RETRY_AFTER_S_MAX, next_due, retry_after_s
from orderwire.ids import new_id
from orderwire.model import OPERATIONAL_PREFIX, Attempt, DeliveryStatus, LaneHealth, OnExhausted, Outcome
from orderwire.store.base import AcceptItem, Finish, Work

EXHAUSTED = "exhausted"
TEST = "test"  # the reason of a delivery that a person sends to try a destination: one attempt, no retries

# Makes the event that tells of an exhausted delivery, with those who want it; None where nobody is told.
Announce = Callable[[Work, Attempt], AcceptItem | None]

Steps = Generator[HttpRequest, HttpAnswer, Finish]
log = structlog.get_logger("orderwire.delivery")

_OUTCOMES = {
    SendError.TIMEOUT: Outcome.TIMEOUT,
    SendError.CONNECT_FAILED: Outcome.CONNECT_FAILED,
    SendError.DNS_FAILED: Outcome.DNS_FAILED,
    SendError.TLS_FAILED: Outcome.TLS_FAILED,
    SendError.BLOCKED_ADDRESS: Outcome.BLOCKED_ADDRESS,
    SendError.BLOCKED_SCHEME: Outcome.BLOCKED_ADDRESS,
    SendError.CONNECTION_LOST: Outcome.CONNECTION_LOST,
    SendError.BAD_ANSWER: Outcome.BAD_ANSWER,
    SendError.BAD_REQUEST: Outcome.BAD_REQUEST,
    SendError.INTERNAL: Outcome.BAD_REQUEST,
    SendError.ABORTED: Outcome.ABORTED,
}


def run(work: Work, lane: Lane, clock: Clock, announce: Announce) -> Steps:
    """Try `work` once on `lane`: yields the request, is sent the answer, returns how it ended."""
    request = compose(work, lane, clock.now())
    answer = yield request
    try:
        attempt = record(work, lane, answer, judge(answer))
        return conclude(work, lane, attempt, answer, announce, clock.now())
    except Exception:
        log.exception("answer_not_understood", delivery=work.delivery_id, destination=work.destination)
    answer = _without_words(answer)  # whatever a receiver says, the attempt ends, and its neighbours' with it
    attempt = record(work, lane, answer, judge(answer))
    return conclude(work, lane, attempt, answer, announce, clock.now())


def compose(work: Work, lane: Lane, now: int) -> HttpRequest:
    """The signed request. The bytes signed are the bytes sent."""
    plan = lane.plan
    body = plan.body(work.event)
    headers = plan.headers(work.event.supplied_id or work.event.id, body, now)
    return HttpRequest(plan.url, body, headers, plan.timeout_s, lane.tls)


def judge(answer: HttpAnswer) -> Outcome:
    """The one word for what came back."""
    if answer.error is not None:
        return _OUTCOMES[answer.error]
    status = answer.status_code or 0
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if 300 <= status < 400:
        return Outcome.REDIRECTED
    if status == 410:
        return Outcome.GONE
    if status in (429, 503) and answer.header("retry-after") is not None:
        return Outcome.THROTTLED
    return Outcome.REJECTED


def record(work: Work, lane: Lane, answer: HttpAnswer, outcome: Outcome) -> Attempt:
    """The attempt's row."""
    status, error = answer.status_code, answer.error_detail or None
    if error is None and outcome is not Outcome.DELIVERED:
        error = f"the receiver answered {status}"
        if outcome is Outcome.REDIRECTED:
            error += f" to {answer.header('location') or 'nowhere'}: redirects are not followed"
    return Attempt(
        id=new_id("att", answer.started_at_us),
        delivery=work.delivery_id,
        number=work.attempt_count + 1,
        manual=work.manual,
        started_at=answer.started_at_us,
        duration_ms=answer.duration_ms,
        outcome=outcome,
        status_code=status,
        error=error,
        response_headers=answer.raw_headers.decode("latin-1") or None,
        response_body=answer.body,
        response_truncated=answer.body_truncated,
        request_url=lane.plan.url,
    )


def conclude(work: Work, lane: Lane, attempt: Attempt, answer: HttpAnswer, announce: Announce, now: int) -> Finish:
    """The delivery's new state, and what the lane learnt."""
    if attempt.outcome is Outcome.DELIVERED:
        return _finish(work, attempt, DeliveryStatus.DELIVERED, health=lane.succeeded())
    hold_until = _hold_until(answer, now) if attempt.outcome is Outcome.THROTTLED else None
    health = lane.failed(now, hold_until)
    if work.reason == TEST:
        return _finish(work, attempt, DeliveryStatus.FAILED, reason=TEST, health=health)
    hold = lane.destination.on_exhausted is OnExhausted.HOLD
    if work.manual:  # the automatic schedule is as it was, and a head that holds its subject goes on to
        finish = _finish(work, attempt, work.status, reason=work.reason, due_at=work.due_at, health=health)
        return msgspec.structs.replace(finish, hold=hold and work.status is DeliveryStatus.FAILED)
    due_at = next_due(lane.destination.retry.schedule_s, work.scheduled_count + 1, now)
    if due_at is not None:
        due_at = max(due_at, hold_until or 0)
        return _finish(work, attempt, DeliveryStatus.RETRYING, reason=attempt.outcome, due_at=due_at, health=health)
    announcement = None if work.event.type.startswith(OPERATIONAL_PREFIX) else announce(work, attempt)
    return msgspec.structs.replace(
        _finish(work, attempt, DeliveryStatus.FAILED, reason=EXHAUSTED, health=health),
        announcements=(announcement,) if announcement else (),
        hold=hold,
    )


def _without_words(answer: HttpAnswer) -> HttpAnswer:
    """The same end without anything that the receiver said."""
    detail = "the receiver's answer could not be understood; the node's log has the reason"
    return msgspec.structs.replace(
        answer, error=SendError.BAD_ANSWER, error_detail=detail, status_code=None, raw_headers=b"", body=b""
    )


def _finish(
    work: Work,
    attempt: Attempt,
    status: DeliveryStatus,
    *,
    reason: str | None = None,
    due_at: int | None = None,
    health: LaneHealth | None = None,
) -> Finish:
    return Finish(
        tenant=work.tenant,
        delivery_id=work.delivery_id,
        destination=work.destination,
        status=status,
        reason=reason,
        scheduled_count=work.scheduled_count + (not work.manual),
        due_at=due_at,
        attempt=attempt,
        manual=work.manual,
        ordered=work.ordered,
        health=health,
    )


def _hold_until(answer: HttpAnswer, now: int) -> int | None:
    """Until when the receiver wants to be left alone: at most a day."""
    value = answer.header("retry-after")
    seconds = retry_after_s(value)
    if seconds is None and value:
        try:
            at = parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError):  # neither a number nor a date of our times: wait by our own schedule
            return None
        seconds = min(at - now / SECOND, RETRY_AFTER_S_MAX)
    return now + round(seconds * SECOND) if seconds and seconds > 0 else None
