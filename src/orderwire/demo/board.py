"""What is going on right now: counts and the latest lines. Fed by the play and the receivers, shown by `screen`."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text

from orderwire.demo.play import Answered
from orderwire.demo.receivers import RETRY_SCHEDULE_S, Receiver, Took, wanted
from orderwire.demo.steps import Fate, Step, Trick
from orderwire.ids import id_time_us, looks_generated

LINES_KEPT = 60
_COLOURS = {"shopify": "green", "stripe": "magenta", "own": "cyan"}
_ASCII = str.maketrans({"→": ">", "✓": "ok", "↻": "again", "✗": "x", "…": ".", "·": "-"})


@dataclass
class Line:
    """One event, or one request that became none, and what happened to it at each receiver."""

    clock: str
    provider: str
    words: str
    marks: dict[str, tuple[str, str]] = field(default_factory=dict)  # receiver -> what to say, its style

    def text(self) -> Text:
        """`10:41 shopify order.paid order/1001 → inventory ✓ 12 ms, email ↻ 500, again in 1 s`."""
        line = Text.assemble(
            (self.clock, "dim"), " ", (f"{self.provider:<8}", _COLOURS.get(self.provider, "")), self.words, " → "
        )
        for number, (name, (said, style)) in enumerate(self.marks.items()):
            line.append(", " if number else "").append(f"{name} " if name else "").append(said, style)
        return line


class Board:
    """Counts so far and the latest lines, oldest first."""

    def __init__(self, steps: Sequence[Step], receivers: Sequence[Receiver]) -> None:
        """For this day and these receivers."""
        self.total = len(steps)
        self.receivers = receivers
        self.sent = dict.fromkeys(Fate, 0)
        self.due = {receiver.name: 0 for receiver in receivers}
        self.clock = steps[0].at
        self.news: list[Line] = []  # what is worth a line even where lines are few
        self.lines: OrderedDict[str, Line] = OrderedDict()
        self._providers = {step.fact: step.provider for step in steps}
        self._told: set[str] = set()

    def answered(self, answered: Answered) -> None:
        """The node has answered a step."""
        step = answered.step
        self.clock = max(self.clock, step.at)
        self.sent[Fate.REFUSED if answered.status >= 400 else step.trick.fate] += 1
        if step.trick.fate is Fate.ACCEPTED:
            for receiver in self.receivers:
                self.due[receiver.name] += wanted(receiver.wants, step.type)
        if step.trick is Trick.NONE:
            return
        line = Line(f"{step.at:%H:%M}", step.provider, f"{step.topic}, {step.trick.value}")
        line.marks[""] = _fate(step.trick, answered.status)
        self._keep(f"{step.trick} {step.message_id} {self.total}", line)
        self._report(step.trick.name, line)

    def took(self, took: Took, now_us: int) -> Line:
        """A receiver has taken a webhook. Returns the line that says so and no more."""
        line = self.lines.get(took.id)
        if line is None:
            kept = took.kept
            provider = self._providers.get((kept.type, kept.subject), "own")
            line = Line(kept.time[11:16], provider, f"{kept.type} {_short(kept.subject or '')}")
            self._keep(took.id, line)
        before = line.marks.get(took.receiver, ("", ""))[0].partition(", again")[0]
        said, style = _mark(took, now_us)
        line.marks[took.receiver] = f"{before}, {said}" if before else said, style
        if took.answer != 200:
            self._report(f"{took.receiver} {took.answer}", line)
        return Line(line.clock, line.provider, line.words, {took.receiver: (said, style)})

    def _keep(self, key: str, line: Line) -> None:
        self.lines[key] = line
        while len(self.lines) > LINES_KEPT:
            self.lines.popitem(last=False)

    def _report(self, kind: str, line: Line) -> None:
        """The first of its kind is news."""
        if kind not in self._told:
            self._told.add(kind)
            self.news.append(line)


def ascii_only(text: str) -> str:
    """The same for a terminal or a file that knows no more."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def _fate(trick: Trick, status: int) -> tuple[str, str]:
    if status >= 400:
        return f"✗ refused with {status}", "red" if status == trick.status else "bold red reverse"
    return ("accepted", "green") if trick is Trick.LATE else ("answered 2xx and dropped", "yellow")


def _mark(took: Took, now_us: int) -> tuple[str, str]:
    """What to say of one webhook at one receiver."""
    if took.answer == 200:
        if took.nth > 1:
            return f"✓ at try {took.nth}", "green"
        waited = f" {(now_us - id_time_us(took.id)) / 1000:.0f} ms" if looks_generated(took.id) else ""
        return f"✓{waited}", "green"
    delay = RETRY_SCHEDULE_S[took.nth] if took.nth < len(RETRY_SCHEDULE_S) else 0
    return f"↻ {took.answer or 'hung up'}, again in {delay} s", "yellow"


def _short(subject: str) -> str:
    """An id in the middle of which nobody is interested."""
    noun, slash, id = subject.partition("/")
    return f"{noun}{slash}{id[:6]}…{id[-4:]}" if len(id) > 12 else subject
