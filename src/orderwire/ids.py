"""Ids: `evt_` and 32 hex digits of a UUIDv7, sorting by time.

The sub-millisecond digits are time as well (RFC 9562 section 6.2, method 3), and one process never makes two
ids out of order: "newest first" is exact and a row's id alone gives its partition. A library's uuid7() sorts
within a millisecond by a counter of its own and takes no injected clock, hence these few lines.
"""

import re
from os import urandom
from random import Random

_random_bits = Random(urandom(32)).getrandbits  # noqa: S311 - ids are names, not secrets
_last_us = 0
_GENERATED = re.compile(r"^[a-z]{3}_[0-9a-f]{32}$")


def new_id(prefix: str, now_us: int) -> str:
    """A fresh id for `prefix` (`evt`, `dlv`, ...) made at `now_us`; strictly later than any made before."""
    global _last_us  # noqa: PLW0603 - one strictly rising sequence per process is the point
    _last_us = now_us = now_us if now_us > _last_us else _last_us + 1
    return f"{prefix}_{_number(now_us) | _random_bits(62):032x}"


def id_floor(prefix: str, at_us: int) -> str:
    """The smallest id of `prefix` that could have been made at `at_us`: the bound of a range by time."""
    return f"{prefix}_{_number(at_us):032x}"


def id_time_us(value: str) -> int:
    """When a generated id was made, in microseconds (exact to one)."""
    digits = value.rpartition("_")[2]
    return int(digits[:12], 16) * 1000 + -(-int(digits[13:16], 16) * 1000 // 4096)


def looks_generated(value: str) -> bool:
    """Whether `value` has the shape of an id of ours."""
    return _GENERATED.match(value) is not None


def _number(at_us: int) -> int:
    """48 bits of milliseconds, version 7, 12 bits of a millisecond's fraction, variant 2, and 62 bits of nothing."""
    milliseconds, rest = divmod(at_us, 1000)
    return milliseconds << 80 | (0x7000 | rest * 4096 // 1000) << 64 | 1 << 63
