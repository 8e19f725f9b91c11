"""What every source's tests hold an event to."""

from collections.abc import Callable

import jsonschema_rs
import pytest

from orderwire.commerce.catalogue import BY_TYPE, json_schema
from orderwire.model import Event
from tests.sources.playing import data_of


@pytest.fixture
def validate() -> Callable[[Event], None]:
    """Hold an event's data to the catalogue's schema of its type."""

    def check(event: Event) -> None:
        assert event.type in BY_TYPE
        schema = json_schema(event.type)
        assert schema is not None
        jsonschema_rs.validate(schema, data_of(event))

    return check
