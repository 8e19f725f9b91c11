"""Ten thousand malformed requests: none crashes the node, none hangs, and nothing of them is stored.

Raw bytes against the three routes that take events, by hypothesis; everything else by schemathesis from the node's
own OpenAPI document. What is valid by chance is held to be so by an oracle that shares no code with the node.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orderwire.clock import SECOND
from orderwire.sources import KINDS
from tests.kit.http import Answer, Client
from tests.kit.node import LOOPBACK, Node
from tests.kit.shop import Api, Shop, opened

ROUNDS, BODIES_A_ROUND = 140, 40  # of each body: to each of the three routes
MALFORMED_MIN = 10_000
SCHEMATHESIS_S = 10
ANSWER_S = 10.0
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
REFUSALS = {400, 401, 404, 405, 409, 413, 415, 422}

VALID: list[bytes] = [
    b'{"type":"order.created","data":{"total":1010,"lines":[{"sku":"a","n":1}]},"subject":"order/1","id":"a-1"}',
    b'{"type":"order.paid","data":null,"time":"2026-11-23T20:01:18.5+01:00"}',
    '{"type":"a.b_c.0","data":"ä😀\\ud83d\\ude00","subject":"ü"}'.encode(),
    b'{"data":[1,-0.5e+10,true,false,null,""],"type":"x"}',
]
# Spliced in anywhere.
POISON = [
    *(
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xef\xbb\xbf",
        b"\x1f",
        b"\\u0000",
        b"\\ud800",
    ),
    *(b"NaN", b"Infinity", b"-", b"1e999", b"01", b"+1", b".5", b"0x1", b"1" * 400, b"'", b'"', b"\\", b"//", b"/**/"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"type":"x",', b'"data":1,', b'"extra":1,', b'"type":1,', b'"id":"",'),
    *(b'"id":"a b",', b'"subject":"",', b'"subject":"\\u0007",', b'"destination":"x",', b'"time":"yesterday",'),
    *(b'"time":"2026-13-01T00:00:00Z",', b'"type":"Order",', b'"type":"orderwire.x",', b"[" * 70, b'{"a":' * 70),
]
HEADERS: list[dict[str, str]] = [
    {"content-type": "text/plain"},
    {"content-type": "application/jsonp"},
    {"content-encoding": "gzip"},
    {"content-encoding": "\xff"},
    {"idempotency-key": ""},
    {"idempotency-key": "k" * 256},
    {"authorization": "Bearer"},
    {"authorization": "Basic \xff"},
    {"orderwire-tenant": "no-such-tenant"},
    {"orderwire-tenant": "\xff"},
]
RAW = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"POST /v1/events HTTP/9.9\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/events HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nx\x00y: z\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\n: nameless\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\n" + b"x: y\r\n" * 2000 + b"\r\n",
    b"POST " + b"/a" * 50_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/events?limit=%ff&cursor=%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://169.254.169.254/ HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /docs/../v1/events HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/live?type=%%% HTTP/1.1\r\nhost: x\r\n\r\n",
]


@dataclass
class Tally:
    """What came of it all."""

    statuses: Counter[int] = field(default_factory=Counter)
    stored: int = 0  # events that valid requests were answered for
    malformed: int = 0

    def refused(self, answer: Answer, what: object) -> None:
        assert answer.status in REFUSALS, (answer, what)
        assert answer.headers["content-type"] == "application/problem+json", (answer, what)
        assert answer.json["status"] == answer.status
        self.statuses[answer.status] += 1
        self.malformed += 1


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    unlimited = {"SOURCE_BAD_SIGNATURES_PER_MINUTE_MAX": "0", "LOG_LEVEL": "error"}
    with Node(tmp_path_factory.mktemp("node"), {**LOOPBACK, **unlimited}) as running:
        yield running
        assert running.terminate()[0] == 0, running.tail
        assert not running.unforeseen(), running.tail


def mutated(seed: int) -> bytes:
    """A valid body, damaged."""
    random = Random(seed)
    body = bytearray(random.choice(VALID))
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at = random.randrange(len(body) + 1)
        match random.randrange(5):
            case 0:
                body[at:at] = random.choice(POISON)
            case 1:
                del body[at:]
            case 2:
                del body[at : at + random.randrange(1, 6)]
            case 3:
                body[at : at + 1] = bytes([random.randrange(256)])
            case _:
                body += random.choice((b"x", b" {}", b"\x00", bytes(body)))
    return bytes(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODY = (
    st.integers(0, 2**32).map(mutated)
    | st.integers(0, 2**32).map(mutated)
    | st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
)


def test_ten_thousand_malformed_bodies_and_nothing_of_them_is_stored(node: Node) -> None:
    tally = Tally()
    with asyncio.Runner() as runner:
        client = Client(node.port, connections_max=32)
        fuzz = runner.run(_fuzzed_tenant(client, node))

        @settings(
            max_examples=ROUNDS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            st.lists(BODY, min_size=BODIES_A_ROUND, max_size=BODIES_A_ROUND), st.sampled_from([{}, {}, {}, *HEADERS])
        )
        def throw(bodies: list[bytes], headers: dict[str, str]) -> None:
            runner.run(_throw(fuzz, tally, bodies, headers))

        throw()
        runner.run(_throw_raw(fuzz, tally))
        runner.run(_hold_count(fuzz, tally))
        runner.run(client.close())
    assert tally.malformed >= MALFORMED_MIN, tally
    assert {400, 401, 415, 422} <= set(tally.statuses), tally


@dataclass
class Fuzzed:
    """A tenant to throw things at."""

    api: Api
    source: dict[str, Any]

    async def send(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        async with asyncio.timeout(ANSWER_S):
            return await self.api.client.request("POST", path, self.api.headers() | headers, body)


async def _fuzzed_tenant(client: Client, node: Node) -> Fuzzed:
    admin = Api(client, node.key)
    await admin.ask("POST", "/v1/tenants", {"id": "fuzz", "name": "Fuzz"})
    api = Api(client, node.key, "fuzz")
    source = await api.ask("POST", "/v1/sources", {"kind": "standard", "name": "s", "secrets": [SECRET]})
    return Fuzzed(api, source)


async def _throw(fuzz: Fuzzed, tally: Tally, bodies: list[bytes], headers: dict[str, str]) -> None:
    await asyncio.gather(
        *(_publish(fuzz, tally, body, headers) for body in bodies),
        *(_publish_batch(fuzz, tally, body, headers) for body in bodies),
        *(_receive(fuzz, tally, body, signed=bool(number % 2)) for number, body in enumerate(bodies)),
    )


async def _publish(fuzz: Fuzzed, tally: Tally, body: bytes, headers: dict[str, str]) -> None:
    answer = await fuzz.send("/v1/events", body, headers)
    if answer.status != 202:
        tally.refused(answer, body)
        return
    assert is_event(body), body
    assert not headers, headers
    tally.stored += not answer.json["duplicate"]


async def _publish_batch(fuzz: Fuzzed, tally: Tally, body: bytes, headers: dict[str, str]) -> None:
    """The body among good ones: one bad event refuses them all."""
    whole = b'{"events":[{"type":"good","data":1},' + body + b"]}"
    answer = await fuzz.send("/v1/events/batch", whole, headers)
    if answer.status != 202:
        tally.refused(answer, whole)
        return
    events = parsed(whole)["events"]
    assert all(map(follows_the_rules, events)), whole
    tally.stored += sum(not row["duplicate"] for row in answer.json["data"])


async def _receive(fuzz: Fuzzed, tally: Tally, body: bytes, *, signed: bool) -> None:
    now_us = round(time.time() * SECOND)
    message_id = f"msg_{abs(hash((body, now_us)))}"
    headers = KINDS["standard"].sign(SECRET, body, now_us, message_id=message_id)
    answer = await fuzz.send(
        fuzz.source["ingest_path"], body, headers if signed else {**headers, "webhook-id": "other"}
    )
    if answer.status != 200:
        tally.refused(answer, body)
        return
    assert signed
    parsed(body)
    tally.stored += 1


async def _throw_raw(fuzz: Fuzzed, tally: Tally) -> None:
    """Not even HTTP: answered 4xx or cut, never left hanging once it has ended, and never a 5xx."""
    proof = f"\r\nauthorization: Bearer {fuzz.api.key}\r\n\r\n".encode()
    requests = [*RAW, *(raw.replace(b"\r\n\r\n", proof, 1) for raw in RAW)]
    statuses = await asyncio.gather(*(_raw_status(fuzz.api.client.port, request) for request in requests))
    for request, status in zip(requests, statuses, strict=True):
        assert status < 500, request[:100]
        tally.malformed += status != 200
        tally.statuses[status] += 1


async def _raw_status(port: int, request: bytes) -> int:
    """Of the answer; 0 where there is none but the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(request)
            try:
                said = await asyncio.wait_for(reader.read(64), 1)
            except TimeoutError:  # it waits for the rest, as it may: there is none
                writer.write_eof()
                said = await reader.read(64)
    except ConnectionError:
        return 0
    finally:
        writer.transport.abort()
    return int(said.split(b" ")[1]) if said.startswith(b"HTTP/1.1 ") else 0


async def _hold_count(fuzz: Fuzzed, tally: Tally) -> None:
    """What is stored is what valid requests were answered for, to the last one, and reads back."""
    events = await fuzz.api.every("/v1/events")
    assert len(events) == tally.stored
    assert all(event["source"] or follows_the_rules(event) for event in events)


async def test_schemathesis_finds_no_crash_and_leaves_nothing_malformed(node: Node, tmp_path: Path) -> None:
    async with opened(node) as shop:
        before = len(await shop.api.every("/v1/events"))
        ended = await asyncio.to_thread(_schemathesis, node, shop, tmp_path)
        said = ended.stdout.decode(errors="replace")
        assert ended.returncode == 0, said[-8000:]
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["operations"]["errored"] == 0, said[-8000:]
        assert report["operations"]["tested"] == report["operations"]["selected"] > 40
        assert report["test_cases"]["generated"] > 500
        events = await shop.api.every("/v1/events")
        assert all(map(follows_the_rules, events))  # only a header of theirs was odd
        assert len(events) - before < 20
        assert (await shop.api.call("GET", "/readyz")).status == 200


def _schemathesis(node: Node, shop: Shop, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"http://127.0.0.1:{node.port}/openapi.json"),
            *("--header", f"Authorization: Bearer {node.key}", "--header", f"Orderwire-Tenant: {shop.tenant}"),
            *("--mode", "negative", "--phases", "coverage,fuzzing", "--seed", "1", "--max-time", str(SCHEMATHESIS_S)),
            *("--checks", "not_a_server_error,negative_data_rejection", "--request-timeout", str(ANSWER_S)),
            *("--exclude-path", "/v1/live"),  # it does not end; its bad parameters are among RAW
            *("--continue-on-failure", "--no-color", "--report", "json", "--report-json-path", "report.json"),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


# -- the oracle ----------------------------------------------------------------------------------


def parsed(body: bytes) -> Any:
    """Strict JSON, by Python's own parser. Raises ValueError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a repeated key")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(body.decode("utf-8", "strict"), object_pairs_hook=once, parse_constant=refuse)


def is_event(body: bytes) -> bool:
    """Whether a body is one that publishing may take."""
    document = parsed(body)
    fields = {"type", "data", "id", "subject", "time", "destination"}
    return isinstance(document, dict) and document.keys() <= fields and follows_the_rules(document)


def follows_the_rules(event: dict[str, Any]) -> bool:
    """The contract's limits on what an event says of itself."""
    type_name, subject, supplied = event.get("type"), event.get("subject"), event.get("id")
    return (
        isinstance(type_name, str)
        and re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", type_name) is not None
        and len(type_name) <= 128
        and not type_name.startswith("orderwire.")
        and "data" in event
        and (subject is None or (isinstance(subject, str) and 0 < len(subject) <= 256))
        and (supplied is None or re.fullmatch(r"[A-Za-z0-9_-]{1,64}", supplied) is not None)
    )
