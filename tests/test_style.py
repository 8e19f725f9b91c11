"""Style that no linter holds: sizes, names, and nothing of anybody's machine in the project's files."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "orderwire"

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
NAMES_SAYING_NOTHING = {"util", "utils", "common", "helpers", "manager", "managers"}

# What .gitignore leaves out: made by tools, or a person's own.
NOT_OURS = {".git", ".venv", ".lock-venv", "node_modules", "__pycache__", "build", "dist", "htmlcov"}
NOT_OURS |= {".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis", ".schemathesis"}
NOT_OURS_AT_THE_TOP = {"data", "orderwire-data", ".env", "orderwire.toml", ".idea", ".vscode"}

PURE = ("ingest", "routing")
CLOCK_ARITHMETIC = {"from_rfc3339", "to_rfc3339", "SECOND", "DAY"}

UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
# Brackets keep these patterns from matching themselves.
REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|crates[.]io/api|(?:static|index)[.]crates[.]io"
    r"|proxy[.]golang[.]org|repo1?[.]maven[.]|deb[.]debian[.]org|pypi[.]python[.]org"
)
MACHINE_PATH = re.compile(
    r"(?<![\w./-])/(?:root/|home/\w|Users/\w|opt/wheels|work/(?:main|shared|[.]library))|[A-Z]:\\Users\\"
)

MODULES = sorted(SRC.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _project_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        skipped = NOT_OURS | NOT_OURS_AT_THE_TOP if Path(folder) == ROOT else NOT_OURS
        folders[:] = [name for name in folders if name not in skipped]
        yield from (Path(folder, name) for name in names if name not in skipped)


def _texts() -> Iterator[tuple[Path, str]]:
    for path in _project_files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, a font, a sample in another encoding


def _lines_with(pattern: re.Pattern[str], files: Iterator[tuple[Path, str]]) -> list[str]:
    return [
        f"{_name(path)}:{number}: {line.strip()[:120]}"
        for path, text in files
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_there_is_something_to_hold() -> None:
    assert MODULES


def test_every_module_says_what_it_is_for() -> None:
    silent = [_name(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent, f"modules without a docstring: {silent}"


def test_no_module_outgrows_one_reading() -> None:
    lengths = {_name(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    long = {name: lines for name, lines in lengths.items() if lines > MODULE_LINES_MAX}
    assert not long, f"modules over {MODULE_LINES_MAX} lines: {long}"


def test_no_function_outgrows_one_screen() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long, f"functions over {FUNCTION_LINES_MAX} lines: {long}"


def test_every_module_and_package_has_a_name_that_says_something() -> None:
    vague = [
        _name(path)
        for path in MODULES
        if any(NAMES_SAYING_NOTHING & set(part.split("_")) for part in path.relative_to(SRC).with_suffix("").parts)
    ]
    assert not vague, f"name these after what they do: {vague}"


def test_pure_rooms_take_only_arithmetic_from_the_clock() -> None:
    taken = {
        (_name(path), alias.name)
        for room in PURE
        for path in (SRC / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "orderwire.clock"
        for alias in node.names
    }
    asking = [(module, name) for module, name in taken if name not in CLOCK_ARITHMETIC]
    assert not asking, f"hand these the instant instead: {asking}"


def test_nothing_unfinished_is_left_in_the_source() -> None:
    left = _lines_with(UNFINISHED, ((path, path.read_text("utf-8")) for path in MODULES))
    assert not left, "\n".join(["finish it, or file an issue:", *left])


def test_no_lock_file_that_writes_registry_addresses() -> None:
    assert not [_name(path) for path in _project_files() if path.name == "uv.lock"]


def test_no_file_names_a_package_registry() -> None:
    named = _lines_with(REGISTRY, _texts())
    assert not named, "\n".join(["registry addresses:", *named])


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    named = _lines_with(MACHINE_PATH, _texts())
    assert not named, "\n".join(["absolute paths:", *named])


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    entries = re.sub(r"\\\n", " ", path.read_text("utf-8")).splitlines()
    pins = [line for line in entries if line.strip() and not line.lstrip().startswith("#")]
    assert pins
    loose = [line[:80] for line in pins if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert not loose, f"run `make lock`: {loose}"
