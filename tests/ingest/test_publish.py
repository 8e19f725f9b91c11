"""Published bodies: what is taken, byte for byte, and which field is named when something is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.clock import SECOND, to_rfc3339
from orderwire.errors import Invalid, Malformed, OrderwireError, TooLarge
from orderwire.ingest.publish import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    DATA_BYTES_MAX,
    parse_batch,
    parse_publish,
)

ORDER = b'{"id":820982911946154508,"total":10.10, "note":"a\\nb","lines":[{"sku":"A-1","qty":2}]}'
EVENT = b'{"type":"order.created","data":' + ORDER + b"}"


def with_field(field: str) -> bytes:
    return b'{"type":"order.created","data":{},' + field.encode() + b"}"


def test_the_least_an_event_needs() -> None:
    request = parse_publish(EVENT)
    assert (request.type, request.data) == ("order.created", ORDER)
    assert (request.id, request.subject, request.time_at, request.destination) == (None, None, None, None)


def test_all_an_event_may_say() -> None:
    request = parse_publish(
        b'{"id":"ord_1-A","time":"2026-11-23T21:01:18.5+01:00","subject":"order/1001",'
        b'"destination":"dst_1","data":null,"type":"a_1.b"}'
    )
    assert (request.id, request.subject, request.destination) == ("ord_1-A", "order/1001", "dst_1")
    assert request.time_at is not None
    assert to_rfc3339(request.time_at) == "2026-11-23T20:01:18.500000Z"
    assert request.data == b"null"


def test_null_is_as_good_as_absent() -> None:
    request = parse_publish(with_field('"id":null,"subject":null,"time":null,"destination":null'))
    assert (request.id, request.subject, request.time_at, request.destination) == (None, None, None, None)


REFUSED_FIELDS = {
    "no type": (b'{"data":1}', "type"),
    "no data": (b'{"type":"a"}', "data"),
    "type of a wrong type": (b'{"type":1,"data":1}', "type"),
    "upper case": (b'{"type":"Order","data":1}', "type"),
    "line end after the type": (b'{"type":"order\\n","data":1}', "type"),
    "empty part": (b'{"type":"order..paid","data":1}', "type"),
    "long type": (b'{"type":"' + b"a" * 129 + b'","data":1}', "type"),
    "operational prefix": (b'{"type":"orderwire.delivery.failed","data":1}', "type"),
    "unknown field": (with_field('"priority":1'), "priority"),
    "bad id": (with_field('"id":"a b"'), "id"),
    "empty id": (with_field('"id":""'), "id"),
    "long id": (with_field(f'"id":"{"a" * 65}"'), "id"),
    "empty subject": (with_field('"subject":""'), "subject"),
    "long subject": (with_field(f'"subject":"{"é" * 257}"'), "subject"),
    "control character in the subject": (with_field('"subject":"a\\u0000b"'), "subject"),
    "date only": (with_field('"time":"2026-11-23"'), "time"),
    "no offset": (with_field('"time":"2026-11-23T20:01:18"'), "time"),
    "compact time": (with_field('"time":"20261123T200118Z"'), "time"),
    "no such day": (with_field('"time":"2026-02-30T20:01:18Z"'), "time"),
    "before 1970": (with_field('"time":"1969-12-31T23:59:59Z"'), "time"),
    "before 1970 by its offset": (with_field('"time":"1970-01-01T00:30:00+01:00"'), "time"),
    "beyond 9999": (with_field('"time":"9999-12-31T23:59:59-01:00"'), "time"),
    "empty destination": (with_field('"destination":""'), "destination"),
    "a list": (b"[]", ""),
}


@pytest.mark.parametrize(("raw", "path"), REFUSED_FIELDS.values(), ids=REFUSED_FIELDS.keys())
def test_a_bad_field_is_named(raw: bytes, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_publish(raw)
    assert refused.value.errors[0].path == path


@pytest.mark.parametrize(("raw", "path"), REFUSED_FIELDS.values(), ids=REFUSED_FIELDS.keys())
def test_a_bad_field_is_named_in_a_batch(raw: bytes, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_batch(b'{"events":[' + EVENT + b", " + raw + b"]}")
    assert refused.value.errors[0].path == (f"events[1].{path}" if path else "events[1]")
    assert refused.value.detail.startswith("events[1]")


def test_good_subjects_and_times_of_every_sort_are_taken() -> None:
    assert parse_publish(with_field(f'"subject":"{"é" * 256}"')).subject == "é" * 256
    assert parse_publish(with_field('"subject":"a\u00a0b\u3000"')).subject == "a\u00a0b\u3000"
    assert parse_publish(with_field('"time":"1970-01-01T00:00:00Z"')).time_at == 0
    assert parse_publish(with_field('"time":"1970-01-01t00:00:01.123456z"')).time_at == SECOND + 123_456


MALFORMED = {
    "empty": (b"", ""),
    "repeated key in the data": (b'{"type":"a","data":{"customer":{"id":1,"id":1}}}', "data.customer.id"),
    "repeated envelope key": (b'{"type":"a","data":1,"type":"b"}', "type"),
    "NaN": (b'{"type":"a","data":{"x":NaN}}', "data.x"),
    "bad UTF-8": (b'{"type":"a","data":"\xff"}', ""),
    "too deep": (b'{"type":"a","data":' + b"[" * 65 + b"]" * 65 + b"}", "data[0]"),
}


@pytest.mark.parametrize(("raw", "path"), MALFORMED.values(), ids=MALFORMED.keys())
def test_bad_json_is_malformed_alone_and_in_a_batch(raw: bytes, path: str) -> None:
    with pytest.raises(Malformed) as alone:
        parse_publish(raw)
    with pytest.raises(Malformed) as together:
        parse_batch(b'{"events":[' + EVENT + b"," + raw + b"]}")
    if path:
        assert alone.value.errors[0].path.startswith(path)
        assert together.value.errors[0].path.startswith(f"events[1].{path}")


def test_data_nests_as_deep_alone_as_in_a_batch() -> None:
    event = b'{"type":"a","data":' + b"[" * 64 + b"]" * 64 + b"}"
    assert parse_batch(b'{"events":[' + event + b"]}") == [parse_publish(event)]


def test_data_may_be_as_large_as_promised_and_no_larger() -> None:
    data = b'"' + b"x" * (DATA_BYTES_MAX - 2) + b'"'
    assert parse_publish(b'{"type":"a","data":' + data + b"}").data == data
    with pytest.raises(TooLarge):
        parse_publish(b'{"type":"a","data":"x' + data[1:] + b"}")
    with pytest.raises(TooLarge):
        parse_publish(EVENT + b" " * 2 * DATA_BYTES_MAX)
    with pytest.raises(TooLarge) as refused:
        parse_batch(b'{"events":[{"type":"a","data":"x' + data[1:] + b"}]}")
    assert refused.value.errors[0].path == "events[0].data"


def test_a_batch_keeps_order_and_bytes() -> None:
    events = [b'{"type":"a.n%d","data":{"n": %d.10}}' % (n, n) for n in range(BATCH_EVENTS_MAX)]
    requests = parse_batch(b' { "events" : [ ' + b" ,\n".join(events) + b" ] } ")
    assert [request.type for request in requests] == [f"a.n{n}" for n in range(BATCH_EVENTS_MAX)]
    assert requests[7].data == b'{"n": 7.10}'


REFUSED_BATCHES = {
    "no events": (b'{"events":[]}', Invalid),
    "not a list": (b'{"events":1}', Invalid),
    "missing": (b"{}", Invalid),
    "unknown field": (b'{"events":[' + EVENT + b'],"x":1}', Invalid),
    "too many": (b'{"events":[' + b",".join([EVENT] * (BATCH_EVENTS_MAX + 1)) + b"]}", TooLarge),
    "too large": (b'{"events":[' + b" " * BATCH_BYTES_MAX + b"]}", TooLarge),
    "events twice": (b'{"events":[' + EVENT + b'],"events":[' + EVENT + b"]}", Malformed),
    "events twice, first empty": (b'{"events" :[],"events":[' + EVENT + b"]}", Malformed),
    "events twice, spelt otherwise": (b'{"\\u0065vents":[],"events":[' + EVENT + b"]}", Malformed),
    "cut off": (b'{"events":[' + EVENT, Malformed),
    "bad UTF-8 between": (b'{"events":[' + EVENT + b"\xff]}", Malformed),
}


@pytest.mark.parametrize(("raw", "error"), REFUSED_BATCHES.values(), ids=REFUSED_BATCHES.keys())
def test_a_bad_batch_is_refused_whole(raw: bytes, error: type[OrderwireError]) -> None:
    with pytest.raises(error):
        parse_batch(raw)


ENVELOPES = st.fixed_dictionaries(
    {"type": st.just("order.created") | st.text(max_size=5), "data": st.none() | st.integers() | st.text()},
    optional={
        name: st.none() | st.text(max_size=5) | st.integers()
        for name in ("id", "subject", "time", "destination", "more")
    },
)


@given(ENVELOPES)
def test_a_batch_of_one_is_judged_as_the_one(envelope: dict[str, object]) -> None:
    raw = json.dumps(envelope).encode()
    try:
        alone: object = [parse_publish(raw)]
    except OrderwireError as error:
        alone = (error.status, [f"events[0].{one.path}" for one in error.errors])
    try:
        together: object = parse_batch(b'{"events":[' + raw + b"]}")
    except OrderwireError as error:
        together = (error.status, [one.path for one in error.errors])
    assert together == alone
