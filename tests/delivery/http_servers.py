"""Real servers on loopback for the tests of the door out: sockets that behave well or badly, TLS, a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orderwire.delivery.http import EgressPolicy, HttpAnswer, HttpRequest, Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
OPEN = EgressPolicy(LOOPBACK, allow_http=True)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """One listening socket: where it is, how many connections it saw, and every request's bytes."""

    port: int
    host: str = "127.0.0.1"
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"


@contextlib.asynccontextmanager
async def serving(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """A server whose every connection is handled by `behaviour`; connections still open at the end are cut."""
    server = Server(0, host)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(_Recorded(reader, server), writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(handle, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Recorded(asyncio.StreamReader):
    """A reader that also writes down each request that `read_request` takes from it."""

    def __init__(self, reader: asyncio.StreamReader, server: Server) -> None:
        super().__init__()
        self.reader, self.server = reader, server


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The next request of the connection, head and body."""
    assert isinstance(reader, _Recorded)
    head = await reader.reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    request = head + await reader.reader.readexactly(length)
    reader.server.requests.append(request)
    return request


def answering(answer: bytes, *, then_close: bool = False, delay_s: float = 0.0) -> Behaviour:
    """Answers each request with these bytes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(delay_s)
            writer.write(answer)
            await writer.drain()
            if then_close:
                writer.close()
                await writer.wait_closed()
                return

    return behave


async def never_answering(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.sleep(3600)


@contextlib.asynccontextmanager
async def sending(policy: EgressPolicy = OPEN, *, http2: bool = False) -> AsyncIterator[Sender]:
    """A started sender for `send` alone; stopped at the end, when nothing unforeseen may have happened in it."""

    def unexpected(answers: list[tuple[HttpRequest, HttpAnswer]]) -> None:
        raise AssertionError(answers)

    sender = Sender(policy, on_answers=unexpected, loop=asyncio.get_running_loop())
    sender.start()
    try:
        yield sender
    finally:
        await sender.stop(0.0)
    assert (sender.internal_errors, sender.callback_errors, sender.in_flight) == (0, 0, 0)


def request(url: str, body: bytes = b"{}", *, timeout_s: float = 5.0, **fields: object) -> HttpRequest:
    """A request with a content type and a header of its own."""
    headers = ["content-type: application/json", "webhook-id: evt_1"]
    return HttpRequest(url, body, headers, timeout_s, **fields)  # type: ignore[arg-type]


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = _sign(self._name, self._name, self._key.public_key(), self._key, is_authority=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str) -> tuple[bytes, bytes]:
        """A certificate for `host` (a name or an address) and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = _sign(name, self._name, key.public_key(), self._key, host=host)
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def server_context(self, folder: Path, host: str, *, asks_client: bool = False) -> ssl.SSLContext:
        """The TLS of a server called `host`; with `asks_client` only clients of this authority get in."""
        certificate, key = self.issue(host)
        chain = folder / f"server-{host.replace(':', '_')}.pem"
        chain.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.pem.decode())
        return context


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signing_key: ec.EllipticCurvePrivateKey,
    *,
    host: str | None = None,
    is_authority: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if host is not None:
        names: list[x509.GeneralName] = [_general_name(host)]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass
class Proxy:
    """A CONNECT proxy: what it was asked to connect to, and where it really connects (`targets`)."""

    port: int = 0
    secure: bool = False
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    targets: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def proxying(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A CONNECT proxy that carries `ADDRESS:PORT` to the local port its `targets` name; the rest is 403."""
    proxy = Proxy(secure=tls is not None)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        proxy.heads.append(head)
        target = head.split(b" ")[1].decode()
        proxy.asked.append(target)
        if not head.startswith(b"CONNECT ") or target not in proxy.targets:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", proxy.targets[target])
        writer.write(b"HTTP/1.1 200 Connection established\r\nx-proxy: yes\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Recorded)
        await carry(reader.reader, writer)

    async with serving(behave, tls=tls) as server:
        proxy.port = server.port
        yield proxy


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()
