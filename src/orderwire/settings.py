"""What a node may be told: flags, then `ORDERWIRE_*` variables, then `orderwire.toml`, then defaults.

`load_settings` is the only way in. Every field carries its description and an example; `serve --help` and
docs/configuration.md are made from them (`Settings.describe`). To add one: a line in `Settings`, then
`python -m orderwire.cli.reference`.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orderwire.crypto import SecretBox
from orderwire.faults import sentence

VARIABLE_PREFIX = "ORDERWIRE_"
CONFIG_FILE = "orderwire.toml"
DATA_DIR = "orderwire-data"
ADMIN_KEY_FILE = "admin.key"  # in the data folder, mode 0600
SECRET_KEY_FILE = "secret.key"  # noqa: S105 - the file's name, not a secret

SHUTDOWN_GRACE_S_MAX = 10
RETENTION_DAYS_MIN, RETENTION_DAYS_MAX = 7, 36_500
KIB, MIB = 1024, 1024 * 1024


class SettingsError(Exception):
    """The node cannot start as told. Each of `problems` names a variable and says what to write instead."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SettingRow(NamedTuple):
    """One setting as people read of it. `default` is empty where there is none."""

    flag: str
    variable: str
    default: str
    description: str
    example: str


def setting(default: object, description: str, example: object = None, **rules: Any) -> Any:  # noqa: ANN401
    """One field of `Settings`. `example`: where the default shows no form; `rules`: pydantic's `ge`, `le`."""
    examples = [default if example is None else example]
    return Field(default, description=description, examples=examples, **rules)


def _networks(value: object) -> object:
    """A comma list as a variable holds it, or a list as TOML does."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("must be a comma list of CIDRs")  # noqa: TRY004 - pydantic tells ValueErrors to people
    try:
        return tuple(ip_network(str(part).strip()) for part in parts if str(part).strip())
    except ValueError as error:
        raise ValueError(f"{error}: each must be a CIDR such as 10.0.0.0/8") from None


def _sealing_keys(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        try:
            SecretBox.from_text(value.get_secret_value())
        except ValueError:
            raise ValueError("must be base64 of 32 bytes, or a comma list of such, newest first") from None
    return value


def _header_text(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not all("!" <= char <= "~" for char in value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as it travels in a header")
    return value


def _web_address(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http:// or https:// and a host, without query or fragment")
    return value.rstrip("/")


def _proxy_address(value: SecretStr | None) -> SecretStr | None:
    _web_address(value.get_secret_value() if value else None)
    return value


def _known_database(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        raise ValueError(
            "a postgresql:// URL needs the PostgreSQL store, which comes with a later version; "
            "leave it out to keep everything in one SQLite file in the data folder"
        )
    return value


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
HeaderSecret = Annotated[SecretStr | None, AfterValidator(_header_text)]
SealingKeys = Annotated[SecretStr | None, AfterValidator(_sealing_keys)]
WebAddress = Annotated[str | None, AfterValidator(_web_address)]
ProxyAddress = Annotated[SecretStr | None, AfterValidator(_proxy_address)]
Database = Annotated[SecretStr | None, AfterValidator(_known_database)]


class Settings(BaseSettings):
    """All of it, checked. Secrets are `SecretStr`: no `repr` shows them."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8080, "port to listen on; 0 takes a free one", ge=0, le=65_535)
    data: Path = setting(Path(DATA_DIR), "folder of the SQLite file and the made keys; created when missing")
    database: Database = setting(None, "postgresql:// URL (a later version); unset: SQLite in the data folder", "")
    public_url: WebAddress = setting(
        None, "how others reach this node: for links and ingest URLs", "https://hooks.example.com"
    )
    shutdown_grace_s: float = setting(
        8.0, "seconds to finish what is in flight at SIGTERM, at most 10", ge=0, le=SHUTDOWN_GRACE_S_MAX
    )

    admin_key: HeaderSecret = setting(
        None, f"admin key that is always valid; unset: made at first start, in DATA/{ADMIN_KEY_FILE}", "$KEY"
    )
    secret_key: SealingKeys = setting(
        None,
        "encrypts secrets at rest: base64 of 32 bytes; for rotation a comma list, newest first; "
        f"unset: made at first start, in DATA/{SECRET_KEY_FILE}",
        "$(orderwire keys generate-secret-key)",
    )

    tls_cert: Path | None = setting(None, "PEM file: the certificate and its chain", "/etc/orderwire/tls.crt")
    tls_key: Path | None = setting(None, "PEM file: the certificate's private key", "/etc/orderwire/tls.key")
    behind_proxy: bool = setting(False, "a proxy in front of this node terminates TLS", "true")
    trusted_proxies: Networks = setting(
        (), "CIDRs of proxies whose X-Forwarded-* headers are believed, comma list", "10.0.0.0/8"
    )

    allow_networks: Networks = setting(
        (), "CIDRs that deliveries may reach although private, comma list", "10.1.0.0/16,127.0.0.0/8"
    )
    allow_http: bool = setting(False, "destinations may be plain http://", "true")
    egress_proxy: ProxyAddress = setting(None, "proxy that every delivery goes through", "http://proxy.internal:3128")
    egress_ca: Path | None = setting(
        None, "PEM file: authorities that deliveries trust instead of the system's", "/etc/orderwire/ca.pem"
    )

    retention_days: int = setting(30, "days an event is kept, at least 7", ge=RETENTION_DAYS_MIN, le=RETENTION_DAYS_MAX)
    inbound_bytes_max: int = setting(8 * MIB, "bytes of one provider's webhook at /in/", ge=KIB, le=64 * MIB)
    key_requests_per_s_max: float = setting(20_000.0, "requests a second of one key; 0: no limit", ge=0)
    tenant_requests_per_s_max: float = setting(50_000.0, "requests a second of one tenant; 0: no limit", ge=0)
    source_bad_signatures_per_minute_max: float = setting(
        60.0, "wrongly signed requests a minute one source answers with 401, then 429; 0: no limit", ge=0
    )
    live_streams_max: int = setting(100, "open streams of /v1/live, then 429", ge=0, le=10_000)

    memory_events_max: int = setting(40_000, "deliveries held in memory; the rest waits on disk", ge=100)
    memory_bytes_max: int = setting(64 * MIB, "bytes of the deliveries held in memory", ge=MIB)

    log_format: Literal["console", "json"] = setting("console", "console for people, json for machines")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "debug, info, warning or error")
    metrics_token: HeaderSecret = setting(None, "bearer token that may read /metrics and nothing else", "$TOKEN")

    @model_validator(mode="after")
    def _listens_safely(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "TLS_KEY" if self.tls_key is None else "TLS_CERT"
            raise ValueError(f"{VARIABLE_PREFIX}{missing} is missing: a certificate and its key go together")
        if not is_loopback(self.host) and self.tls_cert is None and not self.behind_proxy:
            raise ValueError(
                f"ORDERWIRE_HOST={self.host} can be reached by others, and keys would travel in the clear: "
                "give --tls-cert and --tls-key (ORDERWIRE_TLS_CERT, ORDERWIRE_TLS_KEY), or --behind-proxy "
                "(ORDERWIRE_BEHIND_PROXY=true) where a proxy terminates TLS, or listen on 127.0.0.1"
            )
        return self

    @classmethod
    def describe(cls) -> tuple[SettingRow, ...]:
        """Every setting, related ones together, for help and documentation."""
        return tuple(_row(name, field) for name, field in cls.model_fields.items())


def load_settings(flags: Mapping[str, object]) -> Settings:
    """The settings of this process. `flags`: field names, and `config` for the file; None or "" is unset.

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
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a shell's or systemd's work
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return Layered(**given)  # type: ignore[arg-type]  # checking them is what happens here
    except ValidationError as error:
        raise SettingsError(*(_sentence(fault, given, file) for fault in error.errors())) from None


def data_folder(named: str | None) -> Path:
    """The data folder as a helper beside the node finds it, without checking all the other settings."""
    flag = named or os.environ.get(f"{VARIABLE_PREFIX}DATA")
    return Path(str(flag or _read_file(os.environ.get(f"{VARIABLE_PREFIX}CONFIG"))[1].get("data", DATA_DIR)))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_file(named: object) -> tuple[Path, dict[str, Any]]:
    """The file and what it sets. Without a name a missing file sets nothing."""
    file = Path(str(named)) if named else Path(CONFIG_FILE)
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsError(f"{VARIABLE_PREFIX}CONFIG (--config): there is no file {file}") from None
        return file, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(*(f"{file}: there is no setting {name!r}{_nearest(name)}" for name in unknown))
    return file, {name: value for name, value in values.items() if value != ""}


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else "; see: orderwire serve --help"


def _sentence(fault: ErrorDetails, flags: Mapping[str, object], file: Path) -> str:
    """`ORDERWIRE_PORT (in orderwire.toml): must be …; write for example ORDERWIRE_PORT=8080`."""
    reason = sentence(fault)
    if not fault["loc"]:
        return reason
    name = str(fault["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"there is no setting {name!r}{_nearest(name)}"
    row = _row(name, field)
    if name in flags:
        origin, advice = row.flag, f"{row.flag} {row.example}"
    else:
        in_environment = bool(os.environ.get(row.variable))
        origin = "environment" if in_environment else str(file)
        advice = f"{row.variable}={row.example}"
    given = "" if "Secret" in str(field.annotation) else f", not {str(fault['input'])[:80]!r}"
    return f"{row.variable} ({origin}): {reason}{given}" + (f"; for example {advice}" if row.example else "")


def _row(name: str, field: FieldInfo) -> SettingRow:
    example = field.examples[0] if field.examples else ""
    return SettingRow(
        flag="--" + name.replace("_", "-"),
        variable=VARIABLE_PREFIX + name.upper(),
        default=_text(field.default),
        description=field.description or "",
        example=_text(example),
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, ()) else f"{value:.10g}" if isinstance(value, float) else str(value)
