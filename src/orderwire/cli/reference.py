"""`python -m orderwire.cli.reference [FOLDER]` writes docs/cli.md and docs/configuration.md from the code itself."""

import re
import sys
from pathlib import Path

from orderwire.cli import app
from orderwire.settings import CONFIG_FILE, RETENTION_DAYS_MIN, SettingRow, Settings

DOCS = Path(__file__).parents[3] / "docs"
_MADE = "<!-- Made by `python -m orderwire.cli.reference`; a test holds it to the code. Do not edit. -->\n"

_CLI = f"""{_MADE}
# The command line

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers at the node's address. Tables become plain
columns in a pipe, colours leave with `NO_COLOR`; `--json` gives every listing as one JSON document
(`{{"data": [...], "next_cursor": ...}}`) and `tail` as one a line.

"""
_CONFIGURATION = f"""{_MADE}
# Configuration

Every setting is a flag of `orderwire serve`, a variable, and a line of `{CONFIG_FILE}` (in the working directory, or
the file named by `--config` or `ORDERWIRE_CONFIG`). Flags win over variables, variables over the file. An empty one
counts as unset. A setting that is unknown or wrong keeps the node from starting, with a sentence that names it.

In `{CONFIG_FILE}` the name is the flag's with `_` for `-`: `retention_days = {RETENTION_DAYS_MIN}`. Lists are
comma lists, or TOML arrays in the file. Prefer variables or the file for keys: other users of the machine can read a
program's flags.

| flag | variable | default | what it is |
|---|---|---|---|
"""


def cli_page() -> str:
    """docs/cli.md: every command with its flags."""
    made = app.generate_docs(output_format="markdown", heading_level=2).rstrip()
    # started with `python -m`, cyclopts 5.4 leaves the rest of that command in the usage of commands within groups
    return _CLI + re.sub(r"^(orderwire .*?) -m [\w.]+", r"\1", made, flags=re.MULTILINE) + "\n"


def configuration_page() -> str:
    """docs/configuration.md: a row for every setting."""
    return _CONFIGURATION + "".join(map(_line, Settings.describe()))


def main() -> None:
    """Write both pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cli.md").write_text(cli_page(), "utf-8")
    (folder / "configuration.md").write_text(configuration_page(), "utf-8")


def _line(row: SettingRow) -> str:
    default = f"`{row.default}`" if row.default else ""
    return f"| `{row.flag}` | `{row.variable}` | {default} | {row.description} |\n"


if __name__ == "__main__":
    main()
