"""The config of a webhook: what is taken, what is refused before it would fail at every delivery."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from orderwire.destinations import KINDS
from orderwire.errors import Invalid
from tests.delivery.http_servers import Authority

URL = "https://example.com/hook"
WEBHOOK = KINDS["webhook"]


def refused(config: dict[str, Any]) -> list[str]:
    with pytest.raises(Invalid) as refusal:
        WEBHOOK.validate(config)
    return [fault.path for fault in refusal.value.errors]


def test_defaults_are_filled_in_and_absent_options_left_out() -> None:
    assert WEBHOOK.validate({"url": URL}) == {
        "url": URL,
        "headers": {},
        "timeout_s": 15,
        "signing": "v1",
        "payload": "standard",
    }


def test_a_client_certificate_and_its_key_go_together() -> None:
    authority = Authority()
    cert, key = (pem.decode() for pem in authority.issue("client"))
    _, other = (pem.decode() for pem in authority.issue("client"))
    tls = {"client_cert": cert, "client_key": key, "ca": authority.pem.decode()}
    assert WEBHOOK.validate({"url": URL, "tls": tls})["tls"] == tls
    for wrong in ({"client_key": other}, {"client_key": None}, {"client_key": "nonsense"}, {"ca": key}):
        assert refused({"url": URL, "tls": tls | wrong}) == ["config.tls"]
    locked = serialization.load_pem_private_key(key.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pw"),
    )
    assert refused({"url": URL, "tls": tls | {"client_key": locked.decode()}}) == ["config.tls"]


def test_secret_fields_are_named() -> None:
    config: dict[str, Any] = {
        "url": URL,
        "headers": {"x-shop": "1", "X-API-Key": "2", "x-auth": "3"},
        "auth": {"bearer": "t"},
        "tls": {"client_key": "k"},
    }
    assert set(WEBHOOK.secret_fields(config)) == {
        ("headers", "X-API-Key"),
        ("headers", "x-auth"),
        ("auth", "bearer"),
        ("tls", "client_key"),
    }


@pytest.mark.parametrize(
    "config",
    [
        {"url": URL, "timeout_s": 0.5},
        {"url": URL, "timeout_s": True},
        {"url": URL, "url2": URL},
        {"url": 5},
        {"url": URL, "signing": "v2"},
        {"url": URL, "headers": {f"x-{n}": "" for n in range(21)}},
        {"url": URL, "headers": {"x-a": "1", "X-A": "2"}},
        {"url": URL, "headers": {"Webhook-Signature": "x"}},
        {"url": URL, "headers": {"Transfer-Encoding": "chunked"}},
        {"url": URL, "headers": {"x": "a\nb"}},
        {"url": URL, "headers": {"x": "ü"}},
        {"url": URL, "headers": {"": "x"}},
        {"url": URL, "auth": {"bearer": "a b\r\n"}},
        {"url": URL, "auth": {"basic": {"username": "a:b", "password": "c"}}},
        {"url": URL, "auth": {"bearer": "a", "basic": {"username": "a", "password": "c"}}},
    ],
)
def test_what_is_refused(config: dict[str, Any]) -> None:
    assert refused(config)[0].startswith("config.")


def test_auth_and_an_authorization_header_exclude_each_other() -> None:
    assert refused({"url": URL, "auth": {"bearer": "a"}, "headers": {"Authorization": "b"}}) == ["config"]
