"""What the service asks of its neighbours: the dispatcher and the registry of sources."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from orderwire.model import Attempt, Destination, Event

UrlProblem = Callable[[str], str | None]  # why a URL cannot be a destination's; None when it can


class Dispatcher(Protocol):
    """The part of delivery/dispatcher.py that people reach through the service."""

    def wake(self, destination_id: str) -> None:
        """Something may be claimable for a lane."""
        ...

    def recall(self, destination_id: str, delivery_id: str) -> None:
        """A delivery was cancelled: where it waits in memory it is not sent, and an ordered subject's next may go."""
        ...

    def reset(self, destination_id: str) -> None:
        """A person resumed the lane: close the breaker, forget the hold."""
        ...

    async def test(self, destination: Destination, event: Event) -> Attempt:
        """One real signed request, at once."""
        ...

    def lane_view(self, destination_id: str) -> Mapping[str, Any]:
        """`breaker_open` and `hold_until` (microseconds or None) of a lane."""
        ...


class SourceKind(Protocol):
    """A provider, as the service needs to know it (orderwire/sources: `KINDS`)."""

    @property
    def kind(self) -> str:
        """Its word, as in `POST /v1/sources`."""
        ...

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of the config, for forms."""
        ...

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        ...

    @property
    def install_hint(self) -> str | None:
        """How to install what is missing; None where nothing is."""
        ...

    def validate_config(self, config: Mapping[str, Any], secrets: tuple[str, ...], /) -> None:
        """Raises Invalid naming the field."""
        ...
