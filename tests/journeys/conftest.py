"""One node a module and a tenant of its own a test; a node must end with nothing unforeseen in its log."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kit.node import Node
from tests.kit.shop import Shop, opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("node")) as running:
        yield running
        code, _ = running.terminate()
        assert code == 0, running.tail
        assert not running.unforeseen(), running.tail


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """Not shared and not started: for tests that end it."""
    made = Node(tmp_path)
    try:
        yield made
    finally:
        made.kill()
    assert not made.unforeseen(), made.tail


@pytest.fixture
async def shop(node: Node) -> AsyncIterator[Shop]:
    async with opened(node) as ready:
        yield ready
