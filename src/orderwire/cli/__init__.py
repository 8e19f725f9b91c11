"""The command line: `orderwire ...`. Each command is a thin client of the HTTP API, or a helper on this machine.

The commands are named here and live in one file a group; a group is imported when it is called, so that
`orderwire --help` answers at once. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers.
"""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

from orderwire import __version__
from orderwire.cli.failures import INTERRUPTED, Failure, Usage, explain
from orderwire.cli.groups import PARAMETER

NODE = Group("Run a node", sort_key=1)
EVENTS = Group("Events", sort_key=2)
SETUP = Group("Set up", sort_key=3)
CARE = Group("Look after it", sort_key=4)

app = App(
    name="orderwire",
    help="Orderwire: take commerce events in, deliver them everywhere, lose none.",
    version=f"orderwire {__version__}",
    help_format="plaintext",
    default_parameter=PARAMETER,
    suppress_keyboard_interrupt=False,
)

_SETTINGS = (
    "Every flag is also a variable, named in brackets, and a line of orderwire.toml: flags win over variables, "
    "variables over the file. Prefer variables for keys: others on the machine can read a program's flags."
)
_BENCH = (
    "Generator, node and receiver are processes of their own. Only events that were answered 202, received with a "
    "valid signature and are stored as delivered count. Prints one JSON line last."
)
_COMMANDS: tuple[tuple[str, str, Group, str], ...] = (
    ("serve", "node:serve", NODE, f"Run a node: API, dashboard and delivery in one process.\n\n{_SETTINGS}"),
    ("demo", "node:demo", NODE, "Play a day in a shop on a node of its own; needs nothing."),
    ("bench", "node:bench", NODE, f"Measure a node of its own on this machine.\n\n{_BENCH}"),
    (
        "migrate",
        "node:migrate",
        NODE,
        "Bring the store to this version's schema, then end. A node does the same when it starts.",
    ),
    ("send", "send:send", EVENTS, "Publish one event, or a file of them."),
    ("tail", "tail:tail", EVENTS, "Watch events, deliveries and attempts as they happen."),
    ("events", "events:events", EVENTS, "What was accepted: list, show, replay."),
    ("deliveries", "deliveries:deliveries", EVENTS, "What was sent where: list, attempts, retry, cancel."),
    ("replay", "replay:replay", EVENTS, "Send a destination a span of its events again, each exactly once."),
    ("destinations", "destinations:destinations", SETUP, "Where events go: create, pause, test, secrets."),
    ("sources", "sources:sources", SETUP, "Where provider webhooks come in."),
    ("types", "types:types", SETUP, "The catalogue of event types and their schemas."),
    ("keys", "keys:keys", SETUP, "API keys, and the key that encrypts secrets."),
    ("tenants", "tenants:tenants", SETUP, "Whose events these are."),
    ("verify", "verify:verify", CARE, "Check a webhook's signature and say in words what is wrong with it."),
    ("doctor", "doctor:doctor", CARE, "Look for what is wrong, and say what to do next."),
    ("backup", "backup:backup", CARE, "Copy the SQLite store while the node runs, and check the copy."),
)
for _number, (_name, _place, _group, _help) in enumerate(_COMMANDS):
    app.command(f"orderwire.cli.{_place}", name=_name, group=_group, help=_help, sort_key=_number)


def main() -> None:
    """The `orderwire` program."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """One command line. Returns its exit code; what went wrong is on standard error."""
    try:
        code = app(list(words), result_action="return_value", exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        return Usage.exit_code  # already printed
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `orderwire events list | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        print_failure(failure)
        return failure.exit_code
    return code if isinstance(code, int) else 0


def print_failure(failure: Failure) -> None:
    """`error: ...` on standard error, a line for each further thing to say."""
    from rich.console import Console
    from rich.text import Text

    first, *rest = failure.lines
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("error: ", "bold red"), first))
    for line in rest:
        console.print(Text("  " + line))
