"""What the documentation shows is there: links, command lines, variables, make targets, metrics, outcomes."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

from orderwire.cli import app
from orderwire.model import Outcome
from orderwire.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
GENERATED = {"cli.md", "configuration.md"}  # held to the code word for word by tests/cli
WRITTEN = [page for page in PAGES if page.name not in GENERATED]

OF_CLIENTS = {"ORDERWIRE_KEY", "ORDERWIRE_URL", "ORDERWIRE_TENANT", "ORDERWIRE_CONFIG"}
NOT_IN_THE_LOG = {Outcome.ABORTED, Outcome.OUTCOME_UNKNOWN}  # given back unwritten; no kind of this version

_LINK = re.compile(r"\]\(([^)#\s]+)")
_LINE = re.compile(r"^ *(?:\$ |\S*=\S+ )*(?:\.venv/bin/)?(orderwire(?: .*)?)$", re.MULTILINE)
_INLINE = re.compile(r"`(orderwire [^`]+)`")
_SHELL = re.compile(r"\s(?:[|&><;].*|#.*)$")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _commands(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(page, command line without what the shell does with it)."""
    return [
        (_name(page), _SHELL.sub("", found[1]).strip())
        for page in WRITTEN
        for found in pattern.finditer(page.read_text("utf-8"))
    ]


def _parse(line: str) -> None:
    app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_there_are_command_lines_to_hold() -> None:
    assert len(_commands(_LINE)) > 10
    assert len(_commands(_INLINE)) > 10


@pytest.mark.parametrize(("page", "line"), _commands(_LINE))
def test_every_command_line_can_be_typed_as_it_stands(page: str, line: str) -> None:
    try:
        _parse(line)
    except CycloptsError as error:
        pytest.fail(f"{page}: {line}: {error}")


@pytest.mark.parametrize(("page", "line"), _commands(_INLINE))
def test_every_command_in_a_sentence_exists_with_its_options(page: str, line: str) -> None:
    try:
        _parse(line)
    except MissingArgumentError:
        pass  # a sentence names the command, not always what it is done to
    except CycloptsError as error:
        pytest.fail(f"{page}: {line}: {error}")


def test_every_variable_is_one_we_read() -> None:
    known = OF_CLIENTS | {row.variable for row in Settings.describe()}
    named = {name for page in PAGES for name in re.findall(r"ORDERWIRE_[A-Z_]+[A-Z]", page.read_text("utf-8"))}
    assert named
    assert not named - known


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pattern = re.compile(r"(?:`|^ +)make ([a-z]+)", re.MULTILINE)
    named = {name for page in WRITTEN for name in pattern.findall(page.read_text("utf-8"))}
    assert named
    assert not named - targets


def test_every_metric_of_the_runbook_is_counted() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    named = set(re.findall(r"`(orderwire_[a-z_]+)", runbook))
    assert named
    assert not [name for name in named if f'"{name.removesuffix("_total")}' not in source]


def test_the_runbook_explains_every_outcome_an_attempt_can_show() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    assert not [outcome for outcome in Outcome if f"`{outcome}`" not in runbook and outcome not in NOT_IN_THE_LOG]
