"""Which types a pattern takes."""

import pytest

from orderwire.routing.matching import matches


@pytest.mark.parametrize(
    ("pattern", "event_type", "taken"),
    [
        ("order.created", "order.created", True),
        ("order.created", "order.created.late", False),
        ("order.*", "order.created", True),
        ("order.*", "order.line.added", True),
        ("order.*", "order", False),
        ("order.*", "orders.created", False),
        ("*", "order.created", True),
        ("*", "orderwire.test", False),
        ("*", "orderwired", True),
        ("orderwire.*", "orderwire.destination.disabled", True),
        ("orderwire.test", "orderwire.test", True),
    ],
)
def test_matches(pattern: str, event_type: str, taken: bool) -> None:
    assert matches(pattern, event_type) is taken
