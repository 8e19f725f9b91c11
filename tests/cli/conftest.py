"""The program as people run it: a process of its own, in an empty folder, with no variable of theirs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ORDERWIRE_")}
    return own | {"NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """`run("events", "list", input=..., ORDERWIRE_KEY=...)`."""

    def run(*words: str, input: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orderwire", *words],
            input=input,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | variables,
            timeout=60,
            check=False,
        )

    return run
