"""What every scenario is given, and how it says what it found."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

Figure = int | float | str


class Skipped(Exception):
    """This machine does not allow it; the reason."""


@dataclass
class Run:
    """One scenario under way. A sum that breaks is an AssertionError with a sentence."""

    seed: int
    folder: Path
    figures: dict[str, Figure] = field(default_factory=dict)

    def note(self, **figures: Figure) -> None:
        """Keep figures, and print them at once."""
        for name, value in figures.items():
            self.figures[name] = round(value, 3) if isinstance(value, float) else value
            print(f"    {name:28} {self.figures[name]}", flush=True)


Scenario = Callable[[Run], Awaitable[None]]
