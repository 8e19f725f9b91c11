"""What every group of commands shares: how it is made, and asking before something is lost."""

import sys

from cyclopts import App, Parameter

from orderwire.cli.failures import Failure

PARAMETER = Parameter(negative=())  # no `--no-...` twins


def group(name: str, help: str) -> App:
    """An empty group of commands, called without one it shows its help."""
    return App(
        name=name,
        help=help,
        help_format="plaintext",
        default_parameter=PARAMETER,
        version_flags=(),
    )


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; scripts are taken at their word. Raises Failure where the answer is not yes."""
    if yes or not sys.stdin.isatty():
        return
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failure("nothing was changed")
