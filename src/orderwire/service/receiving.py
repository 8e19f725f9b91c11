"""What comes in at `/in/{source}`: find the source, believe its provider or not, keep what it told.

A provider hears 2xx only once its events are on disk. Whoever signs wrongly too often hears 429 and is logged no
more; what is signed rightly is always taken: a flood of forgeries must not lock the true provider out.
"""

from collections.abc import Mapping

import structlog

from orderwire.clock import SECOND, Clock
from orderwire.errors import NotFound, TooManyRequests
from orderwire.ingest.webhook import BadSignature, Handshake, InboundRequest, receive
from orderwire.model import Source
from orderwire.observe.metrics import Metrics
from orderwire.service.configuration import Configuration
from orderwire.service.events import Events
from orderwire.sources.base import SourceKind

MINUTE = 60 * SECOND
log = structlog.get_logger("orderwire.ingest")


class Receiving:
    """Takes providers' requests."""

    def __init__(
        self,
        events: Events,
        configuration: Configuration,
        kinds: Mapping[str, SourceKind],
        clock: Clock,
        metrics: Metrics,
        *,
        body_bytes_max: int,
        bad_signatures_per_minute_max: float,
    ) -> None:
        """The two limits come from the settings; 0 bad signatures a minute: no limit."""
        self._events = events
        self._configuration = configuration
        self._kinds = kinds
        self._clock = clock
        self._metrics = metrics
        self._bad_max = bad_signatures_per_minute_max
        self._bad: dict[str, tuple[int, int]] = {}  # source -> (minute, how many)
        self.body_bytes_max = body_bytes_max

    async def receive(self, source_id: str, request: InboundRequest) -> Handshake | None:
        """Keep what a request tells; a handshake's answer, or None for a plain 2xx.

        Raises NotFound (no such source), BadSignature (401), TooManyRequests, and what `ingest.receive` refuses.
        """
        source = self.source(source_id)
        now = self._clock.now()
        try:
            received = receive(source, self._kinds[source.kind], request, now, body_bytes_max=self.body_bytes_max)
        except BadSignature as refusal:
            self._note_bad(source_id, now)
            log.warning("signature_refused", source=source_id, kind=source.kind, reason=refusal.reason)
            raise
        if isinstance(received, Handshake):
            return received
        kept = await self._events.accept(received.events, [None] * len(received.events), now)
        repeats = sum(accepted.duplicate for _, accepted in kept)
        self._metrics.accepted(source.kind, len(kept) - repeats, repeats)
        return None

    def source(self, source_id: str) -> Source:
        """Whose source this is: asked before a body is read, as nobody need sign to send one. Raises NotFound."""
        source = self._configuration.source_by_id(source_id)
        if source is None:
            raise NotFound("there is no such source")
        return source

    def _note_bad(self, source_id: str, now: int) -> None:
        """Count a wrong signature. Raises TooManyRequests beyond what a minute may have."""
        minute, count = self._bad.get(source_id, (0, 0))
        count = count + 1 if minute == now // MINUTE else 1
        self._bad[source_id] = (now // MINUTE, count)
        if self._bad_max and count > self._bad_max:
            detail = "too many wrongly signed requests for this source; try again in a minute"
            raise TooManyRequests(detail, retry_after_s=60 - now // SECOND % 60)
