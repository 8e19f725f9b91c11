"""`python -m orderwire.bench`: the benchmark without the rest of the CLI."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from orderwire.bench.options import BenchOptions

app = App(name="orderwire-bench", help="Measure a node: events a second, latency, cost. Prints one JSON line last.")


@app.default
def bench(options: Annotated[BenchOptions | None, Parameter(name="*")] = None) -> int:
    """Measure a node of its own on this machine: events a second, latency, CPU and memory.

    Generator, node and receiver are separate processes. Prints one JSON line last.
    """
    from orderwire.bench.run import main  # noqa: PLC0415 - `--help` needs none of it

    return main(options or BenchOptions())


if __name__ == "__main__":
    sys.exit(app())
