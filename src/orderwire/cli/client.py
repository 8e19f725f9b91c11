"""A thin client of the HTTP API on the standard library. Answers stay bytes: digits are never re-encoded."""

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from orderwire import __version__
from orderwire.cli.failures import Refused, Unreachable, Usage

TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
SSE_SILENCE_S = 60.0  # a live stream says something at least this often, if only a comment


class Answer(NamedTuple):
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes


class LiveEvent(NamedTuple):
    """One message of a server-sent event stream."""

    event: str
    data: bytes


class Problem(msgspec.Struct):
    """RFC 9457 problem details as the node writes them."""

    title: str = ""
    detail: str = ""
    errors: list[dict[str, str]] = []


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


class Node:
    """One node, by its base URL. One connection, used again; not for several threads."""

    def __init__(self, url: str, key: str | None, tenant: str | None = None) -> None:
        """Connects to nothing yet. Raises Usage where `url` is none."""
        self._connection: http.client.HTTPConnection | None = None
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host, self._port = "", None
        if parts.scheme not in ("http", "https") or not self._host:
            raise Usage(f"{url!r} is no address of a node: write for example http://127.0.0.1:8080")
        self._tls, self._prefix = parts.scheme == "https", parts.path
        self._headers = {"user-agent": f"orderwire-cli/{__version__}", "accept": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        if tenant:
            self._headers["orderwire-tenant"] = tenant
        self._has_key = bool(key)

    def __del__(self) -> None:
        """A command is done with its node when it forgets it."""
        self.close()

    @property
    def is_near(self) -> bool:
        """Whether the node is on this machine, by its address."""
        return self._host in ("localhost", "::1") or self._host.startswith("127.")

    def get(self, path: str, **query: object) -> bytes:
        """The body of a 2xx answer. Raises Refused, Unreachable."""
        return self.call("GET", path + query_text(query))

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a 2xx answer; `body` is JSON bytes or what msgspec encodes. Raises Refused, Unreachable."""
        answer = self.ask(method, path, body, headers)
        if not 200 <= answer.status < 300:
            raise self._refused(answer)
        return answer.body

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Whatever the node answers. Raises Unreachable."""
        reused = self._connection is not None
        try:
            return self._once(method, path, body, headers)
        except Unreachable:
            if not (reused and method == "GET"):
                raise
            return self._once(method, path, body, headers)  # the kept connection had been closed meanwhile

    def stream(self, path: str) -> Iterator[LiveEvent]:
        """Messages of a live stream until it ends. Raises Refused, Unreachable."""
        headers = {"accept": "text/event-stream"}
        with self._reaching():
            response = self._send("GET", path, None, headers, SSE_SILENCE_S)
            if response.status != 200:
                raise self._refused(_read(response))
            yield from _messages(response)
        self.close()

    def close(self) -> None:
        """Drop the connection, if any."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, method: str, path: str, body: object, headers: Mapping[str, str] | None) -> Answer:
        with self._reaching():
            return _read(self._send(method, path, body, headers or {}, TIMEOUT_S))

    def _send(
        self, method: str, path: str, body: object, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        sent = self._headers | dict(headers) | ({"content-type": "application/json"} if content else {})
        self._connection.request(method, self._prefix + path, content, sent)
        return self._connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        return connection

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn every way a conversation can break into a sentence."""
        try:
            yield
        except ConnectionRefusedError:
            self.close()
            raise Unreachable(f"no node answers at {self.url}; start one with: orderwire serve") from None
        except TimeoutError:
            self.close()
            raise Unreachable(f"{self.url} did not answer in time") from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Unreachable(
                f"the certificate of {self.url} is not trusted: {error.verify_message}",
                "name the authority that signed it with the variable SSL_CERT_FILE",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"no node answers at {self.url}: {str(error) or type(error).__name__}") from None

    def _refused(self, answer: Answer) -> Refused:
        lines = list(_sentences(answer, self.url))
        if answer.status == 401:
            lines.append(
                "the key is not valid there: see --key, ORDERWIRE_KEY"
                if self._has_key
                else "no key was found: give one with --key or ORDERWIRE_KEY, or the node's folder with --data-dir"
            )
        if "retry-after" in answer.headers:
            lines.append(f"try again in {answer.headers['retry-after']} s")
        return Refused(answer.status, *lines)


def query_text(query: Mapping[str, object]) -> str:
    """`?a=1&b=true` of what is set; empty where nothing is."""
    given = {name: value for name, value in query.items() if value is not None and value is not False}
    pairs = [(name, "true" if value is True else str(value)) for name, value in given.items()]
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def _read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())


def _sentences(answer: Answer, url: str) -> Iterator[str]:
    """The problem as people read it: title and detail, then a line for each field at fault."""
    try:
        problem = msgspec.json.decode(answer.body, type=Problem, strict=False)
    except msgspec.DecodeError:
        problem = Problem()
    if not problem.title:
        yield f"{url} answered {answer.status}, and not as an Orderwire node does: is the address right?"
        return
    yield (
        f"{problem.title} ({answer.status}): {problem.detail}"
        if problem.detail
        else f"{problem.title} ({answer.status})"
    )
    for fault in problem.errors:
        line = f"{fault.get('path', '')}: {fault.get('message', '')}"
        if line != problem.detail:
            yield line


def _messages(response: Any) -> Iterator[LiveEvent]:  # noqa: ANN401 - anything that yields lines
    """Server-sent events by their grammar (WHATWG HTML 9.2.6): a blank line ends a message."""
    event = "message"
    data: list[bytes] = []
    for line in response:
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if not line.strip(b"\r\n"):
            if data:
                yield LiveEvent(event, b"\n".join(data))
            event, data = "message", []
        elif name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode()
