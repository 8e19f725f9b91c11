"""TLS out: who is trusted, own certificates, and that a connection made with them serves nobody else."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from orderwire.delivery.http import SendError, TlsOptions
from tests.delivery.http_servers import (
    OK,
    Authority,
    Server,
    answering,
    read_request,
    request,
    sending,
    serving,
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority("someone else")


def https(server: Server, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{server.port}/hook"


async def test_a_receiver_of_a_known_authority_is_trusted(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "localhost")
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        for _ in range(3):
            answer = await sender.send(request(https(server, "localhost"), tls=TlsOptions(ca_pem=authority.pem)))
            assert (answer.status_code, answer.error) == (200, None), answer.error_detail
    assert server.connections == 1


async def test_a_receiver_of_an_unknown_authority_is_not(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1")
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        for options in (None, TlsOptions(), TlsOptions(ca_pem=stranger.pem)):
            answer = await sender.send(request(https(server), tls=options))
            assert (answer.status_code, answer.error) == (None, SendError.TLS_FAILED)
            assert "certificate" in answer.error_detail
    assert server.requests == []


async def test_a_certificate_for_another_host_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "shop.example")
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        answer = await sender.send(request(https(server), tls=TlsOptions(ca_pem=authority.pem)))
    assert (answer.status_code, answer.error) == (None, SendError.TLS_FAILED)
    assert server.requests == []


async def test_trust_given_to_one_request_is_not_lent_to_the_next(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1")
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        trusting = TlsOptions(ca_pem=authority.pem)
        assert (await sender.send(request(https(server), tls=trusting))).status_code == 200
        assert (await sender.send(request(https(server)))).error == SendError.TLS_FAILED
        assert (await sender.send(request(https(server), tls=trusting))).status_code == 200
    assert len(server.requests) == 2


async def test_a_custom_authority_replaces_the_public_ones(
    authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = tmp_path / "public.pem"
    public.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    tls = authority.server_context(tmp_path, "127.0.0.1")
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        assert (await sender.send(request(https(server)))).status_code == 200
        answer = await sender.send(request(https(server), tls=TlsOptions(ca_pem=stranger.pem)))
        assert answer.error == SendError.TLS_FAILED


async def test_a_client_certificate_opens_the_door(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1", asks_client=True)
    certificate, key = authority.issue("client-one")
    own = TlsOptions(client_cert_pem=certificate, client_key_pem=key, ca_pem=authority.pem)
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        for _ in range(3):
            answer = await sender.send(request(https(server), tls=own))
            assert (answer.status_code, answer.error) == (200, None), answer.error_detail
    assert len(server.requests) == 3
    assert server.connections == 1


async def test_a_connection_with_one_certificate_is_never_used_for_another(
    authority: Authority, tmp_path: Path
) -> None:
    async def who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert") or {"subject": ((("commonName", "nobody"),),)}
        name = certificate["subject"][0][0][1].encode()
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(name), name))

    tls = authority.server_context(tmp_path, "127.0.0.1", asks_client=True)
    tls.verify_mode = ssl.CERT_OPTIONAL
    options = {"nobody": TlsOptions(ca_pem=authority.pem)}
    for name in ("one", "two"):
        certificate, key = authority.issue(name)
        options[name] = TlsOptions(client_cert_pem=certificate, client_key_pem=key, ca_pem=authority.pem)
    async with serving(who, tls=tls) as server, sending() as sender:
        for name in ("one", "nobody", "two", "one", "two", "nobody", "one"):
            answer = await sender.send(request(https(server), tls=options[name]))
            assert (answer.body.decode(), answer.error) == (name, None), answer.error_detail
    assert server.connections == 3


async def test_certificates_that_cannot_be_used_fail_clearly(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1", asks_client=True)
    certificate, key = authority.issue("one")
    other_key = authority.issue("two")[1]
    bad = [
        TlsOptions(client_cert_pem=b"not PEM", client_key_pem=key, ca_pem=authority.pem),
        TlsOptions(client_cert_pem=certificate, client_key_pem=b"not PEM", ca_pem=authority.pem),
        TlsOptions(client_cert_pem=certificate, client_key_pem=other_key, ca_pem=authority.pem),
        TlsOptions(client_cert_pem=certificate, client_key_pem=key, ca_pem=b"not PEM"),
        TlsOptions(ca_pem=authority.pem),
        TlsOptions(client_cert_pem=b"", client_key_pem=b"", ca_pem=b""),
    ]
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        for options in bad:
            answer = await sender.send(request(https(server), tls=options))
            assert answer.status_code is None
            assert answer.error in (
                SendError.TLS_FAILED,
                SendError.CONNECTION_LOST,  # TLS 1.3: the server refuses the client after its handshake
                SendError.BAD_REQUEST,
            ), answer
    assert server.requests == []


async def test_an_encrypted_key_is_refused_without_asking_anyone(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("one")
    encrypted = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    tls = authority.server_context(tmp_path, "127.0.0.1", asks_client=True)
    options = TlsOptions(client_cert_pem=certificate, client_key_pem=encrypted, ca_pem=authority.pem)
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        answer = await sender.send(request(https(server), tls=options))
    assert (answer.status_code, answer.error) == (None, SendError.TLS_FAILED)
    assert "cannot be used" in answer.error_detail


async def test_a_certificate_with_its_key_in_one_file_will_do(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1", asks_client=True)
    options = TlsOptions(client_cert_pem=b"".join(authority.issue("one")), ca_pem=authority.pem)
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        answer = await sender.send(request(https(server), tls=options))
    assert (answer.status_code, answer.error) == (200, None), answer.error_detail


async def test_a_trailing_dot_is_no_part_of_the_certificates_name(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "localhost")
    options = TlsOptions(ca_pem=authority.pem)
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        answer = await sender.send(request(https(server, "localhost."), tls=options))
    assert (answer.status_code, answer.error) == (200, None), answer.error_detail
    assert f"\r\nHost: localhost:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
async def test_a_host_that_cannot_be_a_name_fails_clearly(host: str) -> None:
    async with sending() as sender:
        answer = await sender.send(request(f"https://{host}/"))
    assert answer.error in (SendError.DNS_FAILED, SendError.BAD_REQUEST)


async def test_tls_below_1_2_is_refused(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1")
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(answering(OK), tls=tls) as server, sending() as sender:
        answer = await sender.send(request(https(server), tls=TlsOptions(ca_pem=authority.pem)))
    assert (answer.status_code, answer.error) == (None, SendError.TLS_FAILED)


async def test_speaking_tls_to_a_plain_receiver_fails_clearly() -> None:
    async with serving(answering(OK, then_close=True)) as server, sending() as sender:
        answer = await sender.send(request(https(server), timeout_s=1.0))
    assert answer.status_code is None
    assert answer.error in (SendError.TLS_FAILED, SendError.TIMEOUT)


async def test_plain_and_tls_receivers_in_turn(authority: Authority, tmp_path: Path) -> None:
    tls = authority.server_context(tmp_path, "127.0.0.1")
    options = TlsOptions(ca_pem=authority.pem)
    async with serving(answering(OK)) as plain, serving(answering(OK), tls=tls) as secure, sending() as sender:
        for _ in range(3):
            assert (await sender.send(request(plain.url))).status_code == 200
            assert (await sender.send(request(https(secure), tls=options))).status_code == 200
    assert (plain.connections, secure.connections) == (1, 1)
