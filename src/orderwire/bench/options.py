"""What a benchmark run may be told. Imports nothing heavy, so that the CLI can show its help at once."""

from dataclasses import dataclass
from pathlib import Path

BATCH_MAX = 1000  # the API's own limit
DESTINATIONS_MAX = 100
CONNECTIONS_SINGLE, CONNECTIONS_BATCH = 64, 8


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How a run goes.

    Parameters
    ----------
    seconds
        How long events are published.
    batch
        Events per request: 1 is `POST /v1/events`, more is `POST /v1/events/batch`.
    rate
        Events a second, on a schedule that does not wait for answers; 0 is as fast as the node answers.
    connections
        Connections of the generator; 0 chooses: 64 for single events, 8 for batches.
        With a rate, more are opened when needed.
    payload_bytes
        Bytes of each event's `data`, a realistic order.
    destinations
        How many destinations each event goes to.
    keep_data
        An empty folder for the node's data and every log, kept afterwards.
    json_only
        Print the JSON line and nothing else.
    """

    seconds: float = 20.0
    batch: int = 1
    rate: float = 0.0
    connections: int = 0
    payload_bytes: int = 500
    destinations: int = 1
    keep_data: Path | None = None
    json_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run. Raises ValueError naming the option."""
        if not self.seconds > 0:
            raise ValueError("--seconds must be more than 0")
        if not 1 <= self.batch <= BATCH_MAX:
            raise ValueError(f"--batch must be 1..{BATCH_MAX}")
        if not 1 <= self.destinations <= DESTINATIONS_MAX:
            raise ValueError(f"--destinations must be 1..{DESTINATIONS_MAX}")
        if self.rate < 0 or self.connections < 0 or self.payload_bytes < 0:
            raise ValueError("--rate, --connections and --payload-bytes must not be negative")
        kept = self.keep_data
        if kept and kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
            raise ValueError(f"--keep-data {kept} is not an empty folder: a run starts from an empty store")

    @property
    def connections_open(self) -> int:
        """How many connections the generator opens before the load begins."""
        return self.connections or (CONNECTIONS_SINGLE if self.batch == 1 else CONNECTIONS_BATCH)
