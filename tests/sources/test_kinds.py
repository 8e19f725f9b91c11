"""Promises every kind keeps; the shared samples; the page for the next kind."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.commerce.catalogue import BY_TYPE
from orderwire.ingest.webhook import Received, receive
from orderwire.model import EVENT_TYPE_CHARS_MAX, EVENT_TYPE_PATTERN
from orderwire.sources import KINDS
from orderwire.sources.base import foreign_type
from orderwire.sources.shopify.facts import FACTS as SHOPIFY_FACTS
from orderwire.sources.stripe import FACTS as STRIPE_FACTS
from tests.sources import test_shopify, test_stripe
from tests.sources.playing import NOW, a_request, a_source, origin_of, samples, told

DOCS = Path(__file__).parents[2] / "docs"


def test_the_registry_names_each_kind_as_it_names_itself() -> None:
    assert {name: kind.kind for name, kind in KINDS.items()} == {name: name for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_its_page_and_its_form(name: str) -> None:
    page = (DOCS / "sources" / f"{name}.md").read_text("utf-8")
    assert all(f"## {part}" in page for part in ("Set up", "What is verified", "Repeats and retries", "Events"))
    kind = KINDS[name]
    assert kind.title
    assert kind.secret_hint
    assert kind.available
    assert kind.config_schema["$ref"]


@pytest.mark.parametrize("facts", [SHOPIFY_FACTS, STRIPE_FACTS], ids=["shopify", "stripe"])
def test_every_fact_of_one_name_is_in_the_catalogue_with_its_struct(facts: dict[str, Any]) -> None:
    for topic, fact in facts.items():
        if isinstance(fact.type, str):
            assert BY_TYPE[fact.type].data is fact.shape.struct, topic


SAMPLES = {kind: {path.stem: path.read_bytes() for path in samples(kind)} for kind in ("shopify", "stripe")}
SAMPLES["shopify"]["customers.delete"] = b'{"id":7}'
SAMPLES["stripe"]["customer.updated"] = json.dumps(
    test_stripe.snapshot("customer.updated", test_stripe.PERSON)
).encode()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SAMPLES for name in SAMPLES[kind]])
def test_samples_are_in_the_catalogue(kind: str, name: str, validate: Any) -> None:
    event = told(kind, SAMPLES[kind][name], name.replace(".", "/", 1) if kind == "shopify" else "")
    assert "normalisation_error" not in origin_of(event)
    validate(event)


@given(st.text(max_size=300))
def test_any_topic_makes_a_type_of_its_kind(topic: str) -> None:
    name = foreign_type("shopify", topic)
    assert re.fullmatch(EVENT_TYPE_PATTERN, name)
    assert len(name) <= EVENT_TYPE_CHARS_MAX
    assert name.startswith("shopify.")


ODD_VALUES: list[Any] = [None, True, -1, 10**25, "", "x", "1e5", [], [[]], {}, {"id": []}, "\u0000", 1.5, "9" * 60]
ODD = st.sampled_from(ODD_VALUES)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, child in children for found in paths_in(child, (*path, key))]


def damaged(body: Any, path: tuple[Any, ...], odd: Any) -> Any:
    body = copy.deepcopy(body)
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = odd
    return body


CASES = [("shopify", topic, body) for (topic, _), (body, _) in test_shopify.MAPPED.items()]
CASES += [("stripe", "", test_stripe.snapshot(topic, means[0])) for topic, means in test_stripe.MAPPED.items()]
PLACES = [
    (kind, topic, body, path) for kind, topic, body in CASES for path in paths_in(body) if path[-1] != "shop_domain"
]


@given(st.sampled_from(PLACES), ODD)
def test_an_odd_field_never_costs_the_event(place: tuple[str, str, Any, tuple[Any, ...]], odd: Any) -> None:
    kind, topic, body, path = place
    if path[-1] == "myshopify_domain":
        return  # the shop is part of the proof
    event = told(kind, damaged(body, path, odd), topic)
    assert re.fullmatch(EVENT_TYPE_PATTERN, event.type)
    assert event.subject is None or (event.subject.isprintable() and len(event.subject) <= 256)
    json.loads(event.data)


def test_the_page_for_the_next_kind_works_as_written() -> None:
    page = (DOCS / "adding-a-source.md").read_text("utf-8")
    names: dict[str, Any] = {"__name__": "acme"}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "adding-a-source.md", "exec"), names)
    kind = names["KIND"]
    kind.validate_config({}, ("a-secret",))
    body = b'{"id":"x-1","event":"order.paid","order":{"id":12345678901234567890,"sum":"10.10","cur":"EUR"}}'
    source = a_source("acme", "a-secret")
    received = receive(source, kind, a_request(body, kind.sign("a-secret", body, NOW)), NOW)
    assert isinstance(received, Received)
    (event,) = received.events
    assert (event.type, event.subject) == ("order.paid", "order/12345678901234567890")
    assert json.loads(event.data)["total"] == {"amount": 1010, "currency": "EUR"}
