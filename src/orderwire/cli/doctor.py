"""`orderwire doctor`: looks for what is wrong, and says what to do next. Exit code 1 where something fails."""

from dataclasses import asdict

import msgspec
from rich.text import Text

from orderwire.cli.checks import Finding, Mark, look_at_machine
from orderwire.cli.checks_node import look_at_node
from orderwire.cli.options import HERE, Reach
from orderwire.cli.output import console, emit

_STYLES = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red"}


def doctor(*, local: bool = False, at: Reach = HERE) -> int:
    """Look for what is wrong, and say what to do next. Exit code 1 where something fails.

    Parameters
    ----------
    local
        This machine only; ask no node.
    """
    findings = look_at_machine(at.data_dir)
    if not local:
        findings += look_at_node(at)
    if at.json:
        emit(msgspec.json.encode({"data": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            console().print(_line(finding))
    return 1 if any(finding.mark is Mark.FAIL for finding in findings) else 0


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.mark:<5}", _STYLES[finding.mark]), f"{finding.subject}: {finding.found}")
    return line.append(f"\n     → {finding.next}") if finding.next else line
