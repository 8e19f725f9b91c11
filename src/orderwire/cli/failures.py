"""How a command ends when it does not end well: what to print, and the exit code."""

import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells count


class Failure(Exception):
    """Refused or failed. `lines`: a sentence, then further ones where there is more to say."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Usage(Failure):
    """The command line cannot be meant as it stands."""

    exit_code = 2


class Unreachable(Failure):
    """Nobody answers at the node's address."""

    exit_code = 3


class Refused(Failure):
    """The node answered with a problem (RFC 9457)."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(*lines)
        self.status = status


def explain(error: Exception) -> Failure | None:
    """The failure that `error` is for a person, or None for a bug, which deserves its traceback.

    Asks only for classes whose module is loaded: nobody raised one of another.
    """
    if isinstance(error, Failure):
        return error
    settings, errors = sys.modules.get("orderwire.settings"), sys.modules.get("orderwire.errors")
    if settings is not None and isinstance(error, settings.SettingsError):
        return Usage(*error.problems)
    if errors is not None and isinstance(error, errors.OrderwireError):
        return Failure(error.detail)
    return None
