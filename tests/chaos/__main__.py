"""`python -m tests.chaos [NAME ...] [--seed N] [--minutes M]`: runs scenarios, prints figures, one JSON line last.

Exit code 1 when a sum breaks or a scenario takes longer than M minutes.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from pathlib import Path
from time import monotonic
from typing import Any

from tests.chaos import backlog, fulldisk, hostile, kill9, memory, restart
from tests.chaos.scenario import Run, Scenario, Skipped

SCENARIOS: dict[str, Scenario] = {
    "kill9": kill9.run,
    "hostile": hostile.run,
    "backlog": backlog.run,
    "fulldisk": fulldisk.run,
    "memory": memory.run,
    "restart": restart.run,
}
SEED = 20_261_123


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; by default all")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--minutes", type=float, default=10.0, help="a scenario may take at most so long")
    given = parser.parse_args()
    unknown = set(given.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    found = {name: _run(name, given.seed, given.minutes) for name in given.names or SCENARIOS}
    held = all(one["ok"] for one in found.values())
    print(json.dumps({"seed": given.seed, "ok": held, "scenarios": found}))
    return 0 if held else 1


def _run(name: str, seed: int, minutes: float) -> dict[str, Any]:
    """One scenario in a folder of its own."""
    print(f"{name}: {(sys.modules[f'tests.chaos.{name}'].__doc__ or '').splitlines()[0]}", flush=True)
    began, ended = monotonic(), dict[str, Any](ok=True)
    with tempfile.TemporaryDirectory(prefix=f"orderwire-chaos-{name}-") as folder:
        run = Run(seed, Path(folder))
        try:
            asyncio.run(_bounded(SCENARIOS[name], run, minutes))
        except Skipped as reason:
            ended = {"ok": True, "skipped": str(reason)}
            print(f"    skipped: {reason}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the other scenarios run
            ended = {"ok": False, "broken": str(error) or type(error).__name__}
            traceback.print_exc()
    seconds = round(monotonic() - began, 1)
    print(f"    {'held' if ended['ok'] else 'BROKEN'} after {seconds} s", flush=True)
    return {**ended, "seconds": seconds, **run.figures}


async def _bounded(scenario: Scenario, run: Run, minutes: float) -> None:
    async with asyncio.timeout(minutes * 60):
        await scenario(run)


if __name__ == "__main__":
    sys.exit(main())
