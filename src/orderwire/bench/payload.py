"""The bytes that are published: a realistic order, with the two figures the sums are made of in front.

`data.bench.seq` numbers the event, `data.bench.sent_ns` is when it was (to be) published, on the
machine's monotonic clock. Both are strings of fixed width: every request has the same length.
"""

import re

import msgspec

EVENT_TYPE = "order.created"
MARKER = b'"bench"'
MARKER_BYTES = 80  # from MARKER on, enough to hold both figures
_FIGURES = re.compile(rb"\d{10,}")
_ORDER: dict[str, object] = {
    "id": "gid://shop/Order/5512348234",
    "number": 1001,
    "currency": "EUR",
    "total": 12990,
    "customer": {"id": "cus_8231", "email": "ada@example.com", "name": "Ada Lovelace"},
    "lines": [
        {"sku": "TEE-BLK-M", "title": "T-shirt, black, M", "quantity": 2, "price": 2495},
        {"sku": "MUG-01", "title": "Mug", "quantity": 1, "price": 8000},
    ],
    "shipping": {"name": "Ada Lovelace", "line1": "12 St James Sq", "city": "London", "country": "GB"},
    "channel": "web",
}


def event_template(payload_bytes: int) -> bytes:
    """One event, for `%` with (seq, seq, sent_ns); its `data` is `payload_bytes` long where possible."""
    data = b'{"bench":{"seq":"%010d","sent_ns":"%019d"}'
    closed = len(data % (0, 0)) + 1
    room = payload_bytes - closed
    for key, value in _ORDER.items():
        field = b"," + msgspec.json.encode({key: value})[1:-1]
        if len(field) <= room:
            data, room = data + field, room - len(field)
    empty = b',"note":""'
    if room >= len(empty):
        data += b',"note":"' + b"x" * (room - len(empty)) + b'"'
    return b'{"type":"' + EVENT_TYPE.encode() + b'","subject":"order/%010d","data":' + data + b"}}"


def marker_figures(marker: bytes) -> tuple[int, int]:
    """The (seq, sent_ns) of a received body from MARKER on. Raises ValueError where they are missing."""
    seq, sent_ns = _FIGURES.findall(marker)[:2]
    return int(seq), int(sent_ns)
