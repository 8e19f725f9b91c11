"""Kind `webhook`: what its config may hold (CONTRACT: "What a webhook destination receives").

The request itself is made in webhook_request.py; here is only what a person may write.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from orderwire.destinations.base import Guarantee
from orderwire.faults import refusal

URL_CHARS_MAX = 2048
HEADERS_MAX = 20
HEADER_NAME_CHARS_MAX, HEADER_VALUE_CHARS_MAX = 128, 2048
CREDENTIAL_CHARS_MAX = 4096
PEM_CHARS_MAX = 64 * 1024

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_RESERVED = frozenset(  # ours, and the hop-by-hop ones of RFC 9110 7.6.1; `expect` would make us wait
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_RESERVED_PREFIX = "webhook-"
_SECRET_HEADER = re.compile(r"auth|bearer|cookie|credential|jwt|key|pass|secret|session|signature|token", re.IGNORECASE)


def _printable(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("must be printable ASCII")
    return value


def _headers(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("names one header twice")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or len(name) > HEADER_NAME_CHARS_MAX:
            raise ValueError(f"{name[:80]!r} is not a header name")
        if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIX):
            raise ValueError(f"{name[:80]} is set by Orderwire or by the connection and cannot be given")
        if not _VALUE.fullmatch(value) or len(value) > HEADER_VALUE_CHARS_MAX or value != value.strip():
            raise ValueError(
                f"the value of {name[:80]} must be at most {HEADER_VALUE_CHARS_MAX} printable ASCII characters, "
                "without line breaks or blanks at its ends"
            )
    return headers


_SECRET: dict[str, Any] = {"writeOnly": True}
Secret = Annotated[
    str,
    Field(min_length=1, max_length=CREDENTIAL_CHARS_MAX, json_schema_extra=_SECRET),
    AfterValidator(_printable),
]
Pem = Annotated[str, Field(min_length=1, max_length=PEM_CHARS_MAX)]
Headers = Annotated[dict[str, str], Field(max_length=HEADERS_MAX), AfterValidator(_headers)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Basic(_Form):
    """User name and password (RFC 7617)."""

    username: Annotated[str, Field(max_length=1024, pattern=r"^[^:]*$"), AfterValidator(_printable)]
    password: Secret


class Auth(_Form):
    """What goes into the `authorization` header: one of the two."""

    basic: Basic | None = None
    bearer: Secret | None = None

    @model_validator(mode="after")
    def _one(self) -> "Auth":
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("give either basic or bearer")
        return self


class Tls(_Form):
    """PEM texts, inline: a client certificate with its key (mTLS), and authorities to trust instead of the system's."""

    client_cert: Pem | None = None
    client_key: Annotated[Pem | None, Field(json_schema_extra=_SECRET)] = None
    ca: Pem | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Tls":
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together")
        if self.ca is not None:
            _certificates(self.ca, "ca")
        if self.client_cert is not None and self.client_key is not None:
            _check_pair(self.client_cert, self.client_key)
        return self


class WebhookConfig(_Form):
    """The config of a webhook destination."""

    url: Annotated[str, Field(min_length=1, max_length=URL_CHARS_MAX, json_schema_extra={"format": "uri"})]
    headers: Headers = {}
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 15
    signing: Literal["v1", "v1a"] = "v1"
    payload: Literal["standard", "thin", "cloudevents"] = "standard"
    tls: Tls | None = None
    auth: Auth | None = None

    @model_validator(mode="after")
    def _one_authorization(self) -> "WebhookConfig":
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("auth and an authorization header exclude each other")
        return self


class WebhookKind:
    """An HTTP endpoint that receives Standard Webhooks."""

    kind = "webhook"
    title = "Webhook"
    guarantee = Guarantee.IDEMPOTENT
    available = True
    install_hint: str | None = None
    url_fields: tuple[str, ...] = ("url",)

    @property
    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of WebhookConfig."""
        return WebhookConfig.model_json_schema()

    def secret_fields(self, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Credentials, the client key, and headers whose name tells that they hold one."""
        headers = config.get("headers")
        names = headers if isinstance(headers, Mapping) else ()  # it may not have been checked yet
        found = [("headers", name) for name in names if _SECRET_HEADER.search(name)]
        fixed = (("auth", "bearer"), ("auth", "basic", "password"), ("tls", "client_key"))
        return (*found, *(path for path in fixed if _at(config, path) is not None))

    def validate(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config with its defaults; absent options are left out."""
        try:
            return WebhookConfig.model_validate(config).model_dump(exclude_none=True)
        except ValidationError as error:
            raise refusal(error.errors(include_url=False, include_context=False), within="config") from None

    def secret_scheme(self, config: Mapping[str, Any]) -> str | None:
        """The configured signature's."""
        scheme: str = config["signing"]
        return scheme


def _at(config: Mapping[str, Any], path: tuple[str, ...]) -> object:
    value: Any = config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _certificates(pem: str, field: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError(f"{field} is not PEM of one or more certificates") from None


def _check_pair(cert_pem: str, key_pem: str) -> None:
    """Refuse at once what would fail at every delivery: a key that is locked, unreadable, or another's."""
    certificate = _certificates(cert_pem, "client_cert")[0]
    try:
        key = load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: it wants a password
        raise ValueError("client_key is not the PEM of an unencrypted private key") from None
    if _spki(key.public_key()) != _spki(certificate.public_key()):
        raise ValueError("client_key is not the key of client_cert")


def _spki(key: Any) -> bytes:  # noqa: ANN401 - any of the library's public keys
    spki: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki
