"""`orderwire serve`, `demo`, `bench`, `migrate`: what runs a node. Each imports its heavy half when called."""

import inspect
from dataclasses import fields
from typing import Annotated, Any

from cyclopts import Parameter

from orderwire.bench.options import BenchOptions
from orderwire.cli.failures import Usage
from orderwire.settings import CONFIG_FILE, SettingRow, Settings, load_settings

_CONFIG_HELP = f"file with settings, as {CONFIG_FILE} in the working directory [ORDERWIRE_CONFIG]"


def serve(**flags: object) -> int:
    """Run a node until it is told to stop. Returns its exit code."""
    settings = load_settings(flags)
    from orderwire.wiring import serve as run

    return run(settings)


def migrate(**flags: object) -> int:
    """Bring the store to this version's schema. Returns its exit code."""
    settings = load_settings(flags)
    from orderwire.wiring import migrate as run

    return run(settings)


def demo(*, exit: bool = False, events: int | None = None) -> int:
    """Play a day in a shop on a node of its own: webhooks come in, are verified, delivered, retried; it all adds up.

    Parameters
    ----------
    exit
        End by itself when the day is over; without a terminal it always does.
    events
        About so many events.
    """
    from orderwire.demo import main

    return main(exit_when_done=exit, **({} if events is None else {"events": events}))


def bench(**given: Any) -> int:  # noqa: ANN401 - BenchOptions checks them
    """Measure a node of its own. Returns its exit code."""
    try:
        options = BenchOptions(**given)
    except ValueError as error:
        raise Usage(str(error)) from None
    from orderwire.bench.run import main

    return main(options)


def _flag(row: SettingRow) -> inspect.Parameter:
    """A flag as cyclopts reads it. Its value stays text: `load_settings` checks it, wherever it came from."""
    name = row.flag.removeprefix("--").replace("-", "_")
    switch = Settings.model_fields[name].annotation is bool
    help = f"{row.description} [{row.variable}]"
    shown = (lambda _: row.default) if row.default and not switch else False
    kind: Any = bool | None if switch else str | None
    return _keyword(name, kind, Parameter(help=help, show_default=shown, negative=()))


def _keyword(name: str, kind: Any, parameter: Parameter) -> inspect.Parameter:  # noqa: ANN401 - a type
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, parameter])


def _take(command: Any, rows: tuple[SettingRow, ...]) -> None:  # noqa: ANN401 - a function
    """Give `command` a flag for each of `rows`, and --config."""
    flags = [*map(_flag, rows), _keyword("config", str | None, Parameter(help=_CONFIG_HELP))]
    command.__signature__ = inspect.Signature(flags)
    command.__annotations__ = {flag.name: flag.annotation for flag in flags}


def _take_options(command: Any, options: type[BenchOptions]) -> None:  # noqa: ANN401 - a function
    """Give `command` a flag for each field of a dataclass, with the dataclass's own words for it."""
    flags = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for one in fields(options)
    ]
    command.__signature__ = inspect.Signature(flags)
    command.__annotations__ = {flag.name: flag.annotation for flag in flags}
    command.__doc__ = options.__doc__


_take_options(bench, BenchOptions)
_ROWS = Settings.describe()
_take(serve, _ROWS)
_take(migrate, tuple(row for row in _ROWS if row.flag in ("--data", "--database")))
