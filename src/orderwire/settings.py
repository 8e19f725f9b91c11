"""What a node may be told: flags, then `ORDERWIRE_*` variables, then `orderwire.toml`, then the defaults below.

`load_settings` is the only way in. Every field carries its description and an example, from which `serve --help`
and docs/configuration.md are made (`Settings.describe`). To add one: one line in `Settings`, then
`python -m orderwire.cli.reference`.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orderwire.crypto import SecretBox

VARIABLE_PREFIX = "ORDERWIRE_"
CONFIG_FILE = "orderwire.toml"
DATA_DIR = "orderwire-data"
ADMIN_KEY_FILE = "admin.key"  # in the data folder, mode 0600
SECRET_KEY_FILE = "secret.key"  # noqa: S105 - the file's name
DATABASE_FILE = "orderwire.sqlite"

SHUTDOWN_GRACE_S_MAX = 10
RETENTION_DAYS_MIN = 7
KIB, MIB = 1024, 1024 * 1024


class SettingsError(Exception):
    """The node cannot start as told. Each of `problems` names a variable and says what to write instead."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SettingRow(NamedTuple):
    """One setting as people read of it."""

    flag: str
    variable: str
    default: str
    description: str
    group: str
    example: str


def setting(default: object, description: str, group: str, example: object, **rules: Any) -> Any:  # noqa: ANN401
    """One field of `Settings`; `rules` as pydantic's `Field` takes them (`ge`, `le`)."""
    return Field(
        default, description=description, examples=[example], json_schema_extra={"group": group}, **rules
    )


def _split(value: object) -> object:
    """A comma list as a variable holds it, or a list as TOML does."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _opens_secrets(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        try:
            SecretBox.from_text(value.get_secret_value())
        except ValueError:
            raise ValueError("must be base64 of 32 bytes, or a comma list of such, newest first") from None
    return value


def _fits_a_header(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not all(0x21 <= ord(char) <= 0x7E for char in value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as it travels in a header")
    return value


def _is_url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http:// or https:// with a host, without query or fragment")
    return value.rstrip("/")


def _is_secret_url(value: SecretStr | None) -> SecretStr | None:
    _is_url(value.get_secret_value() if value else None)
    return value


def _is_known_database(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    if value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError(
            "this version has no PostgreSQL store yet: it comes with a later one; "
            "leave it out to keep everything in one SQLite file in the data folder"
        )
    raise ValueError(
        "must be a postgresql:// URL (a later version), or left out for SQLite in the data folder"
    )


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]
Key = Annotated[SecretStr | None, AfterValidator(_fits_a_header)]

_NODE, _KEYS, _TLS, _EGRESS = (
    "Where it listens and keeps",
    "Keys",
    "TLS and proxies",
    "What deliveries may reach",
)
_LIMITS, _RATES, _ENGINE, _LOG = "Limits and retention", "Rates", "Engine", "Logs and metrics"


class Settings(BaseSettings):
    """All of it, checked. Secrets are `SecretStr`: no `repr` shows them."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    host: str = setting("127.0.0.1", "address to listen on", _NODE, "127.0.0.1")
    port: int = setting(8080, "port to listen on; 0 takes a free one", _NODE, 8080, ge=0, le=65_535)
    data: Path = setting(
        Path(DATA_DIR),
        "folder of the SQLite file and the made keys; created when missing",
        _NODE,
        "/var/lib/orderwire",
    )
    database: Annotated[SecretStr | None, AfterValidator(_is_known_database)] = setting(
        None,
        "postgresql:// URL for many nodes (a later version); unset: SQLite in the data folder",
        _NODE,
        "",
    )
    public_url: Annotated[str | None, AfterValidator(_is_url)] = setting(
        None, "how others reach this node, for links and ingest URLs", _NODE, "https://events.example.com"
    )
    shutdown_grace_s: float = setting(
        8,
        "seconds to finish what is in flight at SIGTERM, at most 10",
        _NODE,
        8,
        ge=0,
        le=SHUTDOWN_GRACE_S_MAX,
    )

    admin_key: Key = setting(
        None,
        f"an admin key that is always valid; unset: made at first start, in DATA/{ADMIN_KEY_FILE}",
        _KEYS,
        "adm_…",
    )
    secret_key: Annotated[SecretStr | None, AfterValidator(_opens_secrets)] = setting(
        None,
        "encrypts secrets at rest: base64 of 32 bytes, a comma list (newest first) for rotation; "
        f"unset: made at first start, in DATA/{SECRET_KEY_FILE}",
        _KEYS,
        "$(orderwire keys generate-secret-key)",
    )

    tls_cert: Path | None = setting(
        None, "PEM file with the certificate chain", _TLS, "/etc/orderwire/tls.crt"
    )
    tls_key: Path | None = setting(
        None, "PEM file with the certificate's private key", _TLS, "/etc/orderwire/tls.key"
    )
    behind_proxy: bool = setting(False, "a proxy in front of this node terminates TLS", _TLS, "true")  # noqa: FBT003
    trusted_proxies: Networks = setting(
        (), "CIDRs of proxies whose X-Forwarded-* headers are believed, comma list", _TLS, "10.0.0.0/8"
    )

    allow_networks: Networks = setting(
        (), "CIDRs that deliveries may reach although private, comma list", _EGRESS, "10.1.0.0/16,127.0.0.0/8"
    )
    allow_http: bool = setting(False, "let destinations be plain http://", _EGRESS, "true")  # noqa: FBT003
    egress_proxy: Annotated[SecretStr | None, AfterValidator(_is_secret_url)] = setting(
        None, "proxy URL that every delivery goes through", _EGRESS, "http://proxy.internal:3128"
    )
    egress_ca: Path | None = setting(
        None,
        "PEM file of authorities that deliveries trust instead of the system's",
        _EGRESS,
        "/etc/orderwire/ca.pem",
    )

    payload_bytes_max: int = setting(
        256 * KIB, "bytes of one published event", _LIMITS, 256 * KIB, ge=KIB, le=16 * MIB
    )
    inbound_bytes_max: int = setting(
        8 * MIB, "bytes of one provider's webhook at /in/", _LIMITS, 8 * MIB, ge=KIB, le=64 * MIB
    )
    retention_days: int = setting(
        30, "days an event is kept, at least 7; a tenant may have its own", _LIMITS, 30, ge=RETENTION_DAYS_MIN
    )

    key_requests_per_s_max: float = setting(
        20_000, "requests a second of one API key; 0: no limit", _RATES, 100, ge=0
    )
    tenant_requests_per_s_max: float = setting(
        50_000, "requests a second of one tenant, all its keys together; 0: no limit", _RATES, 500, ge=0
    )
    source_bad_signatures_per_minute_max: float = setting(
        60,
        "wrongly signed requests a minute that one source answers 401; beyond: 429; 0: no limit",
        _RATES,
        60,
        ge=0,
    )
    live_streams_max: int = setting(
        100, "open streams of /v1/live; beyond: 429; 0: none are served", _RATES, 100, ge=0, le=10_000
    )

    commit_linger_ms: float = setting(
        0,
        "milliseconds a commit waits for company; 0: as soon as the last one is done",
        _ENGINE,
        2,
        ge=0,
        le=100,
    )
    memory_events_max: int = setting(
        20_000, "deliveries held in memory; beyond, they wait on disk", _ENGINE, 20_000, ge=100
    )
    memory_bytes_max: int = setting(
        64 * MIB, "bytes of the deliveries held in memory", _ENGINE, 64 * MIB, ge=MIB
    )

    log_format: Literal["console", "json"] = setting(
        "console", "`console` for people, `json` for machines", _LOG, "json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "the least that is logged", _LOG, "debug"
    )
    metrics_token: Key = setting(
        None, "a bearer token that may read /metrics and nothing else", _LOG, "mtr_…"
    )

    @model_validator(mode="after")
    def _listens_safely(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "TLS_KEY" if self.tls_key is None else "TLS_CERT"
            raise ValueError(f"{VARIABLE_PREFIX}{missing} is missing: a certificate and its key go together")
        if not is_loopback(self.host) and self.tls_cert is None and not self.behind_proxy:
            raise ValueError(
                f"{VARIABLE_PREFIX}HOST={self.host} is reachable by others, and keys would travel in the clear: give "
                f"--tls-cert and --tls-key ({VARIABLE_PREFIX}TLS_CERT, {VARIABLE_PREFIX}TLS_KEY), or --behind-proxy "
                f"({VARIABLE_PREFIX}BEHIND_PROXY=true) where a proxy terminates TLS, or listen on 127.0.0.1"
            )
        return self

    @classmethod
    def describe(cls) -> tuple[SettingRow, ...]:
        """Every setting in the order of the groups, for help and documentation."""
        rows = [_row(name, field) for name, field in cls.model_fields.items()]
        return tuple(rows)


def load_settings(flags: Mapping[str, object]) -> Settings:
    """The settings of this process. `flags`: field names, and `config` for the file; None and "" count as unset.

    Raises SettingsError naming each variable at fault and what to write instead.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ""}
    file, values = _read_file(given.pop("config", None) or os.environ.get(f"{VARIABLE_PREFIX}CONFIG"))

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            **_: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return Layered(**given)  # type: ignore[arg-type]  # the whole point is that they are not checked yet
    except ValidationError as error:
        raise SettingsError(tuple(_sentence(fault, given, file) for fault in error.errors())) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_file(named: object) -> tuple[Path, dict[str, Any]]:
    """The file and what it sets; a missing `orderwire.toml` sets nothing, a missing named one is an error."""
    file = Path(str(named)) if named else Path(CONFIG_FILE)
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsError((f"{VARIABLE_PREFIX}CONFIG (--config): there is no file {file}",)) from None
        return file, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError((f"{file} cannot be read: {error}",)) from None
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(
            tuple(f"{file}: there is no setting {name!r}{_nearest(name)}" for name in unknown)
        )
    return file, {name: value for name, value in values.items() if value != ""}


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else "; see: orderwire serve --help"


def _sentence(fault: ErrorDetails, flags: Mapping[str, object], file: Path) -> str:
    reason = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return reason
    name = str(fault["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"there is no setting {name!r}{_nearest(name)}"
    row = _row(name, field)
    reason = reason[:1].lower() + reason[1:]
    shown = f" (given: {fault['input']!r})" if "Secret" not in str(field.annotation) else ""
    advice = f"; write for example {row.variable}={row.example}" if row.example else ""
    return f"{row.variable} ({_origin(row, name, flags, file)}): {reason}{shown}{advice}"


def _origin(row: SettingRow, name: str, flags: Mapping[str, object], file: Path) -> str:
    if name in flags:
        return f"from {row.flag}"
    return "from the environment" if os.environ.get(row.variable) else f"from {file}"


def _row(name: str, field: Any) -> SettingRow:  # noqa: ANN401 - pydantic's FieldInfo
    default = "" if field.default in (None, (), PydanticUndefined) else str(field.default).lower()
    return SettingRow(
        flag="--" + name.replace("_", "-"),
        variable=VARIABLE_PREFIX + name.upper(),
        default=default,
        description=field.description,
        group=field.json_schema_extra["group"],
        example=str(field.examples[0]),
    )
