"""One request of the day that is played, and what must become of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Fate(StrEnum):
    """What the node must do with a request."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Trick(StrEnum):
    """What is odd about a request; the value is how the demo calls it."""

    NONE = "as it should be"
    LATE = "out of order: older than what came before it"
    AGAIN = "sent again"
    TWIN = "sent twice at once"
    FORGED = "forged signature"
    ALTERED = "altered after signing"
    STALE = "signature ten minutes old"
    INVALID = "no valid event"

    @property
    def fate(self) -> Fate:
        """What must become of such a request."""
        if self in (Trick.NONE, Trick.LATE):
            return Fate.ACCEPTED
        return Fate.DUPLICATE if self in (Trick.AGAIN, Trick.TWIN) else Fate.REFUSED

    @property
    def status(self) -> int:
        """The HTTP status that refuses it."""
        return 422 if self is Trick.INVALID else 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request. `type`, `subject` and `time`: the event it must become; `at`: when the shop's day sends it.

    `provider` is `shopify`, `stripe`, or `own` for what the shop publishes itself. `signed`: the bytes the signature
    is made of, where they are not the body. `cents`: what the payments book must make of it.
    """

    provider: str
    topic: str
    message_id: str
    body: bytes
    type: str
    subject: str | None
    time: datetime
    at: datetime
    trick: Trick = Trick.NONE
    signed: bytes | None = None
    cents: int = 0

    @property
    def fact(self) -> tuple[str, str | None]:
        """What tells its event from others, as far as the sender can know."""
        return self.type, self.subject
