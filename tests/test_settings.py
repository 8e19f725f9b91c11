"""Settings: what wins over what, what is refused and in which words, what a repr shows."""

import os
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest

from orderwire.settings import Settings, SettingsError, data_folder, load_settings

KEY = b64encode(bytes(32)).decode()


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the person's and no file of the checkout reaches a test."""
    for name in [name for name in os.environ if name.startswith("ORDERWIRE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def problems(flags: Mapping[str, object] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {})
    return caught.value.problems


def test_nothing_given_is_enough() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8080, Path("orderwire-data"))
    assert settings.retention_days == 30
    assert settings.inbound_bytes_max == 8_388_608
    assert not settings.allow_http
    assert settings.allow_networks == ()


def test_flags_win_over_variables_and_variables_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("orderwire.toml").write_text("port = 1\nretention_days = 8\nlog_format = 'json'\n")
    monkeypatch.setenv("ORDERWIRE_PORT", "2")
    monkeypatch.setenv("ORDERWIRE_RETENTION_DAYS", "9")
    settings = load_settings({"port": "3", "host": None})
    assert (settings.port, settings.retention_days, settings.log_format) == (3, 9, "json")


def test_an_empty_one_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("orderwire.toml").write_text("port = 4\nadmin_key = ''\n")
    monkeypatch.setenv("ORDERWIRE_PORT", "")
    monkeypatch.setenv("ORDERWIRE_ALLOW_NETWORKS", "")
    settings = load_settings({"host": ""})
    assert (settings.port, settings.host, settings.admin_key) == (4, "127.0.0.1", None)


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_named_file_is_read_and_must_be_there(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    Path("other.toml").write_text("allow_networks = ['10.0.0.0/8', 'fd00::/8']\n")
    flags = {"config": "other.toml"} if by == "flag" else {}
    if by == "variable":
        monkeypatch.setenv("ORDERWIRE_CONFIG", "other.toml")
    assert load_settings(flags).allow_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    Path("other.toml").unlink()
    assert problems(flags) == ("ORDERWIRE_CONFIG (--config): there is no file other.toml",)


def test_an_unknown_key_of_the_file_is_refused_by_name() -> None:
    Path("orderwire.toml").write_text("prot = 1\nnonsense = 2\n")
    assert problems() == (
        "orderwire.toml: there is no setting 'nonsense'; see: orderwire serve --help",
        "orderwire.toml: there is no setting 'prot'; did you mean 'port'?",
    )


def test_a_broken_file_is_named() -> None:
    Path("orderwire.toml").write_text("port = = 1\n")
    assert problems()[0].startswith("orderwire.toml cannot be read: ")


def test_an_unknown_flag_is_refused() -> None:
    assert problems({"prot": 1}) == ("there is no setting 'prot'; did you mean 'port'?",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "x", "ORDERWIRE_PORT=8080"),
        ("port", "70000", "less than or equal to 65535"),
        ("retention_days", "3", "greater than or equal to 7"),
        ("shutdown_grace_s", "11", "less than or equal to 10"),
        ("allow_networks", "10.0.0.0/8,nonsense", "each must be a CIDR"),
        ("allow_networks", "10.0.0.1/8", "host bits"),
        ("allow_http", "perhaps", "ORDERWIRE_ALLOW_HTTP=true"),
        ("log_format", "xml", "'console' or 'json'"),
        ("public_url", "shop.example.com", "must be http:// or https://"),
        ("egress_proxy", "socks5://x", "must be http:// or https://"),
        ("admin_key", "two words", "printable ASCII without spaces"),
        ("secret_key", "c2hvcnQ=", "base64 of 32 bytes"),
        ("database", "postgresql://u:hidden@db/x", "comes with a later version"),
        ("database", "mysql://u:hidden@db/x", "SQLite file in the data folder"),
    ],
)
def test_a_wrong_variable_is_named_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"ORDERWIRE_{name.upper()}", value)
    (problem,) = problems()
    assert problem.startswith(f"ORDERWIRE_{name.upper()} (environment): ")
    assert words in problem
    assert "hidden" not in problem


def test_the_place_of_a_wrong_value_is_named() -> None:
    assert "(--port)" in problems({"port": "x"})[0]
    assert "--port 8080" in problems({"port": "x"})[0]
    Path("orderwire.toml").write_text("port = 'x'\n")
    assert "(orderwire.toml)" in problems()[0]


def test_every_problem_is_told_at_once() -> None:
    assert len(problems({"port": "x", "retention_days": "1"})) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert load_settings({"host": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example.com"])
def test_anything_else_needs_tls_or_a_proxy(host: str) -> None:
    (problem,) = problems({"host": host})
    for word in (f"ORDERWIRE_HOST={host}", "--tls-cert", "--behind-proxy", "127.0.0.1"):
        assert word in problem
    assert load_settings({"host": host, "behind_proxy": True}).host == host
    assert load_settings({"host": host, "tls_cert": "c.pem", "tls_key": "k.pem"}).tls_key == Path("k.pem")


def test_a_certificate_and_its_key_go_together() -> None:
    assert problems({"tls_cert": "c.pem"}) == ("ORDERWIRE_TLS_KEY is missing: a certificate and its key go together",)


def test_no_repr_shows_a_secret() -> None:
    settings = load_settings({"admin_key": "adm_1", "secret_key": KEY, "metrics_token": "mtr_1"})
    shown = repr(settings) + str(settings) + repr(settings.model_dump())
    for secret in ("adm_1", KEY, "mtr_1"):
        assert secret not in shown
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "adm_1"


def test_a_comma_list_of_secret_keys_is_taken() -> None:
    both = f"{KEY}, {KEY}"
    settings = load_settings({"secret_key": both})
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == both


def test_the_data_folder_is_found_as_a_node_would_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder(None) == Path("orderwire-data")
    Path("orderwire.toml").write_text("data = 'of-file'\n")
    assert data_folder(None) == Path("of-file")
    monkeypatch.setenv("ORDERWIRE_DATA", "of-variable")
    assert data_folder(None) == Path("of-variable")
    assert data_folder("of-flag") == Path("of-flag")


def test_every_setting_says_what_it_is() -> None:
    for row in Settings.describe():
        assert row.description, row.flag
        assert row.variable == "ORDERWIRE_" + row.flag[2:].replace("-", "_").upper()
