"""The catalogue: names that keep to the pattern, schemas that validate what the structs hold."""

import re

import jsonschema_rs
import msgspec
import pytest

from orderwire.commerce.catalogue import BY_TYPE, CATALOGUE, json_schema
from orderwire.commerce.structs import Customer, LineItem, Order
from orderwire.model import EVENT_TYPE_PATTERN, OPERATIONAL_PREFIX
from orderwire.money import Money


def test_names_are_ours_and_each_is_there_once() -> None:
    assert len(BY_TYPE) == len(CATALOGUE) >= 40
    for one in CATALOGUE:
        assert re.fullmatch(EVENT_TYPE_PATTERN, one.type)
        assert not one.type.startswith(OPERATIONAL_PREFIX)
        assert one.description.endswith(".")


@pytest.mark.parametrize("event_type", BY_TYPE)
def test_every_schema_is_a_schema_without_references_elsewhere(event_type: str) -> None:
    schema = json_schema(event_type)
    if schema is None:
        assert BY_TYPE[event_type].data is None
        return
    jsonschema_rs.meta.validate(schema)
    text = msgspec.json.encode(schema).decode()
    assert all(found.startswith("#/$defs/") for found in re.findall(r'"\$ref":"([^"]*)"', text))


def test_an_unknown_type_has_no_schema() -> None:
    with pytest.raises(KeyError):
        json_schema("order.teleported")


ORDER = Order(
    id="1",
    currency="EUR",
    total=Money(1010, "EUR"),
    customer=Customer(id="7", email="ada@example.com"),
    line_items=[LineItem(quantity=1)],
)


def test_a_struct_keeps_to_its_schema_and_leaves_out_what_is_not_told() -> None:
    data = msgspec.json.decode(msgspec.json.encode(ORDER))
    jsonschema_rs.validate(json_schema("order.created") or False, data)
    assert data == {
        "id": "1",
        "currency": "EUR",
        "total": {"amount": 1010, "currency": "EUR"},
        "customer": {"id": "7", "email": "ada@example.com"},
        "line_items": [{"quantity": 1}],
    }


@pytest.mark.parametrize("broken", [{"total": 10.1}, {"total": {"amount": 10.5, "currency": "EUR"}}, {"id": 1}])
def test_the_schema_refuses_what_is_not_canonical(broken: dict[str, object]) -> None:
    data = msgspec.json.decode(msgspec.json.encode(ORDER)) | broken
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(json_schema("order.created") or False, data)
