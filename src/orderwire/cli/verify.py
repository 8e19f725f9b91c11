"""`orderwire verify`: is this webhook's signature right, and if not, what is wrong with it. Asks no node."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from orderwire.cli.failures import Usage
from orderwire.cli.options import Words, json_text, words
from orderwire.cli.output import console, emit
from orderwire.clock import SECOND, SystemClock
from orderwire.model import DEFAULT_TENANT, Source
from orderwire.sources import KINDS
from orderwire.sources.base import BadSignature, InboundRequest, SourceKind

_STRIPE_TIME = re.compile(r"(?:^|,)\s*t=(\d{1,12})")


def verify(
    kind: str,
    /,
    *,
    secret: tuple[str, ...],
    body: Words = "-",
    header: tuple[str, ...] | None = None,
    headers: str | None = None,
    config: str | None = None,
    ignore_age: bool = False,
    json: bool = False,
) -> int:
    """Check a webhook's signature and say in words what is wrong with it. Exit code 1 where it is not right.

    Parameters
    ----------
    kind
        standard (also what Orderwire sends), shopify, stripe, ...
    secret
        The signing secret, or @file; may be given several times.
    body
        File with the raw body, byte for byte as it came; - for standard input.
    header
        'Name: value' as it came; may be given several times.
    headers
        File with all headers: a line each, as curl -i shows them, or a JSON object.
    config
        A JSON object with what the kind needs besides: JSON or @file.
    ignore_age
        Take it as if it had just been sent.
    json
        Print JSON instead of a sentence.
    """
    chosen = KINDS.get(kind)
    if chosen is None:
        raise Usage(f"there is no kind {kind!r}; there are: {', '.join(sorted(KINDS))}")
    request = InboundRequest(
        method="POST", path="/", query="", headers=_headers(header or (), headers), body=_body(body)
    )
    secrets = tuple(words(item).decode().strip() for item in secret)
    settings = msgspec.json.decode(json_text(config, "--config"), type=dict[str, Any]) if config else {}
    verdict = examine(chosen, request, secrets, settings, ignore_age=ignore_age)
    if json:
        emit(msgspec.json.encode({"valid": not verdict, "reasons": verdict}))
    elif verdict:
        console().print(Text.assemble(("not right: ", "bold red"), "\n  ".join(verdict)))
    else:
        console().print(Text("the signature is right", style="green"))
    return 1 if verdict else 0


def examine(
    kind: SourceKind,
    request: InboundRequest,
    secrets: tuple[str, ...],
    config: Mapping[str, object],
    *,
    ignore_age: bool,
) -> list[str]:
    """What is wrong with a request, and what may have caused it; empty where nothing is."""
    now = SystemClock().now()
    sent_at = _sent_at(request.headers)
    source = Source(
        id="src_verify",
        tenant=DEFAULT_TENANT,
        kind=kind.kind,
        name="",
        secrets=secrets,
        config=dict(config),
        created_at=now,
        updated_at=now,
    )
    wrong = _refusal(kind, source, request, sent_at if ignore_age and sent_at else now)
    if wrong is None:
        return []
    if sent_at and _refusal(kind, source, request, sent_at) is None:
        age_s = abs(now - sent_at) // SECOND
        side = "old" if sent_at < now else "ahead of this machine's clock"
        return [f"the signature itself is right, but it is {_span(age_s)} {side}: {wrong}", "see --ignore-age"]
    return [wrong, *_causes(kind, source, request, sent_at or now)]


def _refusal(kind: SourceKind, source: Source, request: InboundRequest, now: int) -> str | None:
    for secret in source.secrets:
        wrong = kind.check_secret(secret)
        if wrong:
            return f"the secret cannot be one: {wrong}; {kind.secret_hint}"
    try:
        kind.verify(source, request, now)
    except BadSignature as error:
        return error.reason
    return None


def _causes(kind: SourceKind, source: Source, request: InboundRequest, now: int) -> list[str]:
    """The usual suspects, tried."""
    stripped = request.body.rstrip(b"\r\n")
    bodies = {
        "the body without its last line end is right: an editor or echo added it": stripped,
        "the body with a line end added is right: it was cut off": stripped + b"\n",
        "the body with \\n for \\r\\n is right: line ends were changed": request.body.replace(b"\r\n", b"\n"),
        "the body, compacted, is right: it was formatted after it was signed": _compact(request.body),
    }
    for sentence, body in bodies.items():
        changed = msgspec.structs.replace(request, body=body)
        if body != request.body and _refusal(kind, source, changed, now) is None:
            return [sentence]
    if not request.body:
        return ["the body is empty: give the raw body with --body FILE"]
    return ["check that the secret is this endpoint's own, and that the body is the raw one, byte for byte"]


def _compact(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=-1)
    except msgspec.DecodeError:
        return body


def _sent_at(headers: Mapping[str, str]) -> int | None:
    """When it says it was sent, microseconds; None where it does not say."""
    stamp = headers.get("webhook-timestamp") or headers.get("svix-timestamp") or ""
    found = _STRIPE_TIME.search(headers.get("stripe-signature", ""))
    stamp = stamp if stamp.isdecimal() else found[1] if found else ""
    return int(stamp) * SECOND if stamp and len(stamp) <= 12 else None


def _span(seconds: int) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _headers(given: tuple[str, ...], file: str | None) -> dict[str, str]:
    """Lower-case names; `Name: value` lines, or a JSON object, and over them `--header`."""
    found: dict[str, str] = {}
    text = _file(file).decode("latin-1") if file else ""
    if text.lstrip().startswith("{"):
        found = {name.lower(): str(value) for name, value in msgspec.json.decode(text).items()}
        text = ""
    for line in (*text.splitlines(), *given):
        name, colon, value = line.partition(":")
        if colon and " " not in name:
            found[name.strip().lower()] = value.strip()
        elif line in given:
            raise Usage(f"--header {line!r} must be 'Name: value'")
    return found


def _body(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else _file(name)


def _file(name: str) -> bytes:
    try:
        return Path(name.removeprefix("@")).read_bytes()
    except OSError as error:
        raise Usage(f"{name} cannot be read: {error.strerror}") from None
