"""What many commands take: how to reach the node, how much of a list, instants and JSON as people type them."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Group, Parameter

from orderwire.cli.failures import Usage
from orderwire.clock import DAY, SECOND, SystemClock, from_rfc3339, to_rfc3339

if TYPE_CHECKING:
    from orderwire.cli.client import Node

DEFAULT_URL = "http://127.0.0.1:8080"
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": DAY, "w": 7 * DAY}

Words = Annotated[str, Parameter(allow_leading_hyphen=True)]  # what may be `-`: JSON, @file or standard input


@Parameter(name="*", group=Group("Node", sort_key=9))
@dataclass(frozen=True)
class Reach:
    """How to reach the node.

    Parameters
    ----------
    url
        The node's address [ORDERWIRE_URL; default http://127.0.0.1:8080].
    key
        API key [ORDERWIRE_KEY, ORDERWIRE_ADMIN_KEY; default: admin.key in the data folder].
    tenant
        Act for this tenant; admin keys only [ORDERWIRE_TENANT; else the tenant default].
    data_dir
        The node's data folder, where its admin key is [ORDERWIRE_DATA; default ./orderwire-data].
    json
        Print JSON instead of tables and sentences.
    """

    url: str | None = None
    key: str | None = None
    tenant: str | None = None
    data_dir: str | None = None
    json: bool = False

    def node(self) -> "Node":
        """A client of the node."""
        from orderwire.cli.client import Node

        return Node(self.address, self._key(), self.tenant or os.environ.get("ORDERWIRE_TENANT") or None)

    @property
    def address(self) -> str:
        """The node's base URL."""
        return self.url or os.environ.get("ORDERWIRE_URL") or DEFAULT_URL

    def _key(self) -> str | None:
        given = self.key or os.environ.get("ORDERWIRE_KEY") or os.environ.get("ORDERWIRE_ADMIN_KEY")
        if given:
            return given
        from orderwire.settings import ADMIN_KEY_FILE, data_folder

        file = data_folder(self.data_dir) / ADMIN_KEY_FILE
        try:
            return file.read_text("ascii").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"the admin key in {file} cannot be read: {error}", "give a key with --key") from None


HERE = Reach()


@Parameter(name="*", group=Group("Paging", sort_key=8))
@dataclass(frozen=True)
class Paging:
    """How much of a list.

    Parameters
    ----------
    limit
        At most this many rows.
    cursor
        Go on where an earlier list ended.
    all
        Every row, however many.
    """

    limit: int = 50
    cursor: str | None = None
    all: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that asks for nothing."""
        if self.limit < 1:
            raise Usage("--limit must be at least 1")


FIRST = Paging()


def instant(text: str | None) -> str | None:
    """RFC 3339 for `2026-11-23T20:01:18Z`, `2026-11-23` (midnight UTC), `now`, or `90m`, `2d` (that long ago)."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if ago:
        return to_rfc3339(SystemClock().now() - round(float(ago[1]) * _UNITS[ago[2]]))
    if text == "now":
        return to_rfc3339(SystemClock().now())
    try:
        return to_rfc3339(from_rfc3339(text if "T" in text or " " in text else f"{text}T00:00:00Z"))
    except ValueError:
        raise Usage(
            f"{text!r} is no instant: write 2026-11-23T20:01:18Z, 2026-11-23, or how long ago: 90m, 2d"
        ) from None


def words(text: str) -> bytes:
    """The bytes that `@file`, `-` (standard input) or the text itself stands for."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise Usage(f"{text[1:]} cannot be read: {error.strerror}") from None


def json_text(text: str, flag: str) -> msgspec.Raw:
    """JSON from `@file`, `-` or the text itself, kept to the digit. Raises Usage naming `flag`."""
    raw = words(text)
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Usage(f"{flag} is not JSON: {error}", "write JSON, @file, or - for standard input") from None
    return msgspec.Raw(raw)


def json_object(text: str, flag: str) -> dict[str, msgspec.Raw]:
    """A JSON object from `@file`, `-` or the text itself, its values kept to the digit."""
    try:
        return msgspec.json.decode(json_text(text, flag), type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise Usage(f"{flag} must be a JSON object, as {{...}}") from None


def pairs(items: tuple[str, ...], flag: str) -> dict[str, str]:
    """`name=value` items as a mapping."""
    found = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise Usage(f"{flag} {item!r} must be NAME=VALUE")
        found[name] = value
    return found
