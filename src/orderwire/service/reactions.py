"""What follows from attempts: announcements, disabling, metrics, the live stream. The dispatcher tells, this acts."""

from collections.abc import Callable, Coroutine, Sequence

import msgspec
import structlog

from orderwire.clock import Clock, to_rfc3339
from orderwire.errors import NotFound, OrderwireError
from orderwire.ids import new_id
from orderwire.model import Attempt, Delivery, Destination, DestinationState
from orderwire.observe.live import Happening, Live
from orderwire.observe.metrics import Metrics
from orderwire.service.background import Background
from orderwire.service.configuration import Configuration
from orderwire.service.events import Events
from orderwire.store.base import AcceptItem, AuditEntry, Finish, Work

DISABLED, DELIVERY_FAILED = "orderwire.destination.disabled", "orderwire.delivery.failed"
NODE_ACTOR = "node"
log = structlog.get_logger("orderwire.delivery")


class Reactions:
    """The dispatcher's `Reactions`. The wiring sets `events` and `sweep_deleted`: they need the dispatcher in turn."""

    events: Events
    sweep_deleted: Callable[[], Coroutine[None, None, None]]

    def __init__(
        self, configuration: Configuration, background: Background, metrics: Metrics, live: Live, clock: Clock
    ) -> None:
        """Wired once."""
        self._configuration = configuration
        self._background = background
        self._metrics = metrics
        self._live = live
        self._clock = clock

    def announce_failed(self, work: Work, attempt: Attempt) -> AcceptItem | None:
        """`orderwire.delivery.failed`, kept in the transaction that fails the delivery."""
        now = self._clock.now()
        data = {
            "delivery": work.delivery_id,
            "event": work.event.public_id,
            "event_type": work.event.type,
            "destination": work.destination,
            "attempt_count": attempt.number,
            "last_attempt": {
                "outcome": attempt.outcome,
                "status_code": attempt.status_code,
                "error": attempt.error,
                "at": to_rfc3339(attempt.started_at),
            },
        }
        event = self.events.operational(work.tenant, DELIVERY_FAILED, f"destination/{work.destination}", data, now)
        return self.events.route(event, own=False)

    def disable(self, destination_id: str, reason: str) -> None:
        """Disable a destination once, and publish it."""
        destination = self._configuration.destinations.by_id(destination_id)
        if destination is not None and destination.state is not DestinationState.DISABLED:
            self._background.start("disable destination", self._disable(destination, reason))

    def orphaned(self, destination_id: str) -> None:
        """Cancel what a deleted destination still has waiting: an accept may have overtaken the delete."""
        log.info("orphaned_deliveries", destination=destination_id)
        self._background.start("cancel deleted lanes", self.sweep_deleted())

    def finished(self, pairs: Sequence[tuple[Work, Finish]]) -> None:
        """Count, and show to whoever watches."""
        self._metrics.attempted([(finish.attempt.outcome, finish.attempt.duration_ms) for _, finish in pairs])
        for work, finish in pairs:
            if finish.status == "failed":
                self._metrics.failed(finish.reason or "")
            if self._live.watched(work.tenant):
                self._show(work, finish)

    def _show(self, work: Work, finish: Finish) -> None:
        kind = work.event.type
        self._live.tell(work.tenant, Happening("attempt", kind, finish.attempt))
        delivery = Delivery(
            id=work.delivery_id,
            tenant=work.tenant,
            event_id=work.event.id,
            event=work.event.public_id,
            type=kind,
            subject=work.event.subject,
            destination=work.destination,
            status=finish.status,
            reason=finish.reason,
            attempt_count=finish.attempt.number,
            next_attempt_at=finish.due_at,
            created_at=work.event.received_at,
            updated_at=self._clock.now(),
        )
        self._live.tell(work.tenant, Happening("delivery", kind, delivery))

    async def _disable(self, destination: Destination, reason: str) -> None:
        now = self._clock.now()
        audit = AuditEntry(
            id=new_id("aud", now),
            tenant=destination.tenant,
            at=now,
            actor=NODE_ACTOR,
            action="destination.disable",
            resource=destination.id,
            detail=reason,
        )
        changed = False

        def disable(found: Destination) -> Destination:
            nonlocal changed
            changed = found.state is not DestinationState.DISABLED
            return msgspec.structs.replace(
                found, state=DestinationState.DISABLED, disabled_reason=reason, updated_at=now
            )

        table = self._configuration.destinations
        try:
            await self._configuration.change(table, (destination.tenant, destination.id), disable, audit)
            if changed:
                log.warning("destination_disabled", destination=destination.id, reason=reason)
                data = {"destination": destination.id, "name": destination.name, "reason": reason}
                await self.events.announce(destination.tenant, DISABLED, f"destination/{destination.id}", data)
        except NotFound:
            return  # deleted meanwhile
        except OrderwireError as error:  # the next failure tries again
            self._metrics.swallowed("disable")
            log.warning("disable_failed", destination=destination.id, error=error.detail)
