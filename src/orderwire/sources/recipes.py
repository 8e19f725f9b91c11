"""How providers sign, as a table: one HMAC recipe a row, and the small verifier they all share.

The parts span COMMERCE.md 1.4. A row says where the signature stands, how its header is read, what bytes are
signed, how the key is decoded and the digest written, and how old a timestamp may be. Pure: `now` is a parameter.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import msgspec

from orderwire.clock import SECOND
from orderwire.signing import decode_symmetric
from orderwire.sources.base import BadSignature, InboundRequest

SIGNATURES_MAX = 20  # candidates looked at in one header
_TIMESTAMP = re.compile(r"\d{1,12}", re.ASCII)


class Proof(msgspec.Struct, frozen=True):
    """What a signature header says: its candidates, and the timestamp where the recipe has one."""

    signatures: tuple[str, ...]
    timestamp: str = ""


class Signed(msgspec.Struct, frozen=True):
    """All that a message part may be made of."""

    body: bytes
    headers: dict[str, str]
    timestamp: str = ""
    url: str = ""


Part = Callable[[Signed], bytes]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One way to sign. `headers`: the first that is there counts. `tolerance_s`: how far `timestamp` may be off."""

    headers: tuple[str, ...]
    read: Callable[[str], Proof]
    message: tuple[Part, ...]
    key: Callable[[str], bytes]
    write: Callable[[bytes], str]
    digest: str = "sha256"
    timestamp_header: str | None = None
    tolerance_s: int | None = None


# -- message parts ------------------------------------------------------------------------------------------------


def literal(text: str) -> Part:
    """A fixed text, as the dot in `t.body`."""
    return lambda _: text.encode()


def header(name: str) -> Part:
    """The value of a header, which must be there."""
    return lambda signed: _latin1(signed.headers.get(name) or _refuse(f"no header {name}"))


def body(signed: Signed) -> bytes:
    """The raw body."""
    return signed.body


def timestamp(signed: Signed) -> bytes:
    """The timestamp as it was written."""
    return signed.timestamp.encode()


def url(signed: Signed) -> bytes:
    """The URL the provider was given (config.notification_url), with the request's own query where it has one."""
    return signed.url.encode()


# -- header shapes, keys, digests ---------------------------------------------------------------------------------


def plain(text: str) -> Proof:
    """The header is the signature."""
    return Proof((text,))


def prefixed(prefix: str) -> Callable[[str], Proof]:
    """`sha256=<signature>`."""
    return lambda text: Proof((text.removeprefix(prefix),)) if text.startswith(prefix) else Proof(())


def pairs(signature: str, at: str) -> Callable[[str], Proof]:
    """`t=..,v1=..,v1=..`: comma-separated pairs, the signature's key and the timestamp's."""

    def read(text: str) -> Proof:
        found = [tuple(pair.strip().split("=", 1)) for pair in text.split(",") if "=" in pair]
        stamps = [value for key, value in found if key == at]
        if len(stamps) != 1:
            _refuse("not exactly one timestamp in the signature header")
        return Proof(tuple(value for key, value in found if key == signature), stamps[0])

    return read


def tagged(tag: str) -> Callable[[str], Proof]:
    """`v1,<signature> v1,<signature>`: space-separated, each behind its version."""

    def read(text: str) -> Proof:
        found = (one.partition(",") for one in text.split(" "))
        return Proof(tuple(value for version, _, value in found if version == tag))

    return read


def utf8(secret: str) -> bytes:
    """The secret's own characters are the key."""
    return secret.encode()


def hexadecimal(digest: bytes) -> str:
    """Lower-case hex."""
    return digest.hex()


def base64(digest: bytes) -> str:
    """Standard base64, padded."""
    return b64encode(digest).decode("ascii")


# -- the table ----------------------------------------------------------------------------------------------------

SHOPIFY = Recipe(  # shopify-app-js prefers the Events family where both are there
    headers=("shopify-hmac-sha256", "x-shopify-hmac-sha256"),
    read=plain,
    message=(body,),
    key=utf8,
    write=base64,
)
STRIPE = Recipe(  # the key is the whole whsec_ text, not decoded
    headers=("stripe-signature",),
    read=pairs("v1", "t"),
    message=(timestamp, literal("."), body),
    key=utf8,
    write=hexadecimal,
    tolerance_s=300,
)
STANDARD = Recipe(
    headers=("webhook-signature",),
    read=tagged("v1"),
    message=(header("webhook-id"), literal("."), timestamp, literal("."), body),
    key=decode_symmetric,
    write=base64,
    timestamp_header="webhook-timestamp",
    tolerance_s=300,
)


# -- the verifier -------------------------------------------------------------------------------------------------


def verify(
    recipe: Recipe, secrets: Iterable[str], request: InboundRequest, now_us: int, config: dict[str, Any] | None = None
) -> None:
    """Raise BadSignature unless one of `secrets` signed this request and its timestamp is recent.

    Every secret is tried against every candidate, each comparison in constant time.
    """
    text = first_header(recipe.headers, request)
    proof = recipe.read(text)
    stamp = proof.timestamp
    if recipe.timestamp_header:
        stamp = request.headers.get(recipe.timestamp_header, "")
    if recipe.tolerance_s is not None:
        check_timestamp(stamp, recipe.tolerance_s, now_us)
    if not proof.signatures:
        _refuse("no signature of the expected scheme in the header")
    signed = Signed(request.body, dict(request.headers), stamp, _notification_url(request, config or {}))
    message = b"".join(part(signed) for part in recipe.message)
    candidates = [_latin1(one) for one in proof.signatures[:SIGNATURES_MAX]]
    right = False
    for secret in filter(None, secrets):
        try:
            expected = signature(recipe, secret, message).encode("ascii")
        except ValueError:
            continue  # not a key of this recipe: validate_config says so when it is set
        for candidate in candidates:
            right |= hmac.compare_digest(candidate, expected)
    if not right:
        _refuse("the signature does not match any secret")


def signature(recipe: Recipe, secret: str, message: bytes) -> str:
    """The signature of `message`, written as the recipe writes it."""
    return recipe.write(hmac.digest(recipe.key(secret), message, recipe.digest))


def check_timestamp(text: str, tolerance_s: int, now_us: int) -> int:
    """The timestamp in unix seconds; BadSignature where it is no number, stale, or from the future."""
    if not _TIMESTAMP.fullmatch(text):
        _refuse("the timestamp is missing or not unix seconds")
    age_s = now_us / SECOND - int(text)
    if abs(age_s) > tolerance_s:
        _refuse(f"the timestamp is {abs(age_s):.0f} s {'old' if age_s > 0 else 'ahead'}, {tolerance_s} s allowed")
    return int(text)


def first_header(names: tuple[str, ...], request: InboundRequest) -> str:
    """The signature header; BadSignature where there is none."""
    for name in names:
        value = request.headers.get(name, "")
        if value:
            return value
    raise BadSignature(f"no header {names[-1]}")


def _notification_url(request: InboundRequest, config: dict[str, Any]) -> str:
    configured = str(config.get("notification_url", ""))
    return f"{configured.partition('?')[0]}?{request.query}" if request.query and configured else configured


def _latin1(text: str) -> bytes:
    """Header text back to the bytes it came as."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        _refuse("a header is not what HTTP allows")


def _refuse(reason: str) -> NoReturn:
    raise BadSignature(reason)
