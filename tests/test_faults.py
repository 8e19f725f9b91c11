"""What is wrong with a body reads as a sentence that says what to write, whichever model found it."""

from typing import Any

import pytest

from orderwire.destinations import KINDS
from orderwire.errors import Invalid
from orderwire.service.specs import BulkReplaySpec, DestinationSpec, Spec, TenantSpec, validated

GOOD = {"kind": "webhook", "name": "n", "events": ["a"], "config": {}}


def said(refusal: Invalid) -> dict[str, str]:
    return {fault.path: fault.message for fault in refusal.errors}


@pytest.mark.parametrize(
    ("spec", "document", "path", "message"),
    [
        (DestinationSpec, {"foo": 1}, "foo", "there is no such field"),
        (DestinationSpec, {"config": 1}, "config", "must be a JSON object"),
        (DestinationSpec, {"name": ""}, "name", "must have at least 1 character"),
        (DestinationSpec, {"events": []}, "events", "must have at least 1 item, not 0"),
        (
            DestinationSpec,
            {"events": ["Order"]},
            "events[0]",
            "must be an event type, e.g. order.created; order.* is all below order, * is all",
        ),
        (DestinationSpec, {"concurrency": 0}, "concurrency", "must be greater than or equal to 1"),
        (
            DestinationSpec,
            {"retry": {"schedule_s": [0, -1]}},
            "retry.schedule_s[1]",
            "must be greater than or equal to 0",
        ),
        (TenantSpec, {"id": "A b", "name": "x"}, "id", "must be 1 to 64 of a-z 0-9 _ -, e.g. acme"),
        (BulkReplaySpec, {}, "since", "is required"),
        (
            BulkReplaySpec,
            {"since": "yesterday"},
            "since",
            "must be an RFC 3339 time of 1970 or later with its offset, e.g. 2026-11-23T20:01:18Z",
        ),
        (
            BulkReplaySpec,
            {"since": "2026-11-23T20:01:18Z", "status": "x"},
            "status",
            "must be 'failed', 'delivered', 'cancelled' or 'any'",
        ),
    ],
)
def test_a_field_at_fault_is_named_with_what_to_write(
    spec: type[Spec], document: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        validated(spec, (GOOD if spec is DestinationSpec else {}) | document)
    assert said(refusal.value) == {path: message}
    assert refusal.value.detail == f"{path}: {message}"


def test_a_kinds_config_speaks_the_same_way() -> None:
    with pytest.raises(Invalid) as refusal:
        KINDS["webhook"].validate({"timeout_s": 61, "foo": 1, "headers": {"a": 1}, "signing": "v2"})
    assert said(refusal.value) == {
        "config.url": "is required",
        "config.timeout_s": "must be less than or equal to 60",
        "config.foo": "there is no such field",
        "config.headers.a": "must be a valid string",
        "config.signing": "must be 'v1' or 'v1a'",
    }
