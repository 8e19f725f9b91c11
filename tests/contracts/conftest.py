"""One suite for every engine: `kit` is an open store, once for each entry of ENGINES."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.engines import ENGINES, Engine
from tests.contracts.kit import Kit


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
async def kit(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    monkeypatch.setattr("orderwire.ids._last_us", 0)  # ids are made at the instant of this test's clock
    made = Kit(engine, engine.new_place(tmp_path))
    await made.store.open()
    yield made
    await made.store.close()
