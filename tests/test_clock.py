"""RFC 3339, as everybody who gives us a time must write it."""

import pytest

from orderwire.clock import INSTANT_MAX, SECOND, from_rfc3339, to_rfc3339


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", SECOND),
        ("1970-01-01 02:00:00.000001+02:00", 1),
        ("9999-12-31T23:59:59.999999Z", INSTANT_MAX),
    ],
)
def test_a_time_is_read_to_the_microsecond(text: str, at: int) -> None:
    assert from_rfc3339(text) == at
    assert from_rfc3339(to_rfc3339(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-11-23",
        "2026-11-23T20:01:18",
        "20261123T200118Z",
        "2026-W48-1T20:01:18Z",
        "2026-11-23T20:01Z",
        "2026-06-31T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "",
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"e\.g\. 2026-11-23T20:01:18Z"):
        from_rfc3339(text)
