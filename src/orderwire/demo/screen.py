"""How the demo looks: a live board on a terminal, a few plain lines elsewhere, and the table at the end."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orderwire.demo.board import Board, ascii_only
from orderwire.demo.goods import BIG_ORDER_ID, CURRENCY, FIRST_CUSTOMER
from orderwire.demo.receivers import Receiver
from orderwire.demo.steps import Fate, Trick
from orderwire.demo.sums import Sums

LINES_SHOWN = 10
PLAIN_WIDTH = 110
PLAIN_EVERY_S = 2.0
_FRAMES_PER_S = 8
_LOOK: dict[str, Any] = {"box": SIMPLE_HEAD, "title_justify": "left", "title_style": "bold", "pad_edge": False}


class Screen:
    """Standard output, as a terminal or not."""

    def __init__(self) -> None:
        """Look at what standard output is."""
        terminal = sys.stdout.isatty()
        self.console = Console(
            width=None if terminal else PLAIN_WIDTH,
            force_terminal=terminal,
            no_color=None if terminal else True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.live = terminal and not self.console.is_dumb_terminal
        self._said = ""
        self._ascii = not self.console.encoding.lower().startswith("utf")

    def say(self, line: str | Text = "", style: str = "") -> None:
        """One line."""
        text = Text(line, style) if isinstance(line, str) else line
        if self._ascii:
            text = Text(ascii_only(text.plain))
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def showing(self, board: Board) -> Iterator[None]:
        """Show the board while the day is played."""
        if self.live:
            with Live(
                get_renderable=lambda: _board(board),
                console=self.console,
                refresh_per_second=_FRAMES_PER_S,
                transient=True,
            ):
                yield
            return
        telling = asyncio.get_running_loop().create_task(self._tell(board))
        try:
            yield
        finally:
            telling.cancel()
            self._tell_once(board)

    def result(self, sums: Sums, seconds: float) -> None:
        """The tables at the end, and whether they add up."""
        self.say()
        for table in (_door(sums), _receivers(sums)):
            self._table(table)
        natures = ", ".join(f"{row.name}: {row.nature}" for row in sums.rows if row.nature)
        self.say(f"({natures}. Repeats were dropped by their webhook-id.)")
        book = ", ".join(f"{cents / 100:,.2f} {CURRENCY} {word}" for word, cents in sums.money.items())
        self.say(f"Payments book: {book}.")
        if not sums.broken:
            self.say(f"Order {BIG_ORDER_ID} (beyond 2^53) and its customer {FIRST_CUSTOMER} came through to the digit.")
            self.say("No late update overwrote a newer one; each payment's events came in their order.")
        for broken in sums.broken:
            self.say(f"✗ {broken}", "bold red")
        if sums.broken:
            self.say(f"It does not add up: {len(sums.broken)} sums are broken.", "bold red")
        else:
            delivered = sum(row.delivered for row in sums.rows)
            self.say(
                f"✓ It adds up: {sums.accepted} events accepted, {delivered} deliveries made of them, "
                f"none lost, none made up, in {seconds:.1f} s.",
                "bold green",
            )

    def _table(self, table: Table) -> None:
        with self.console.capture() as captured:
            self.console.print(table)
        text = captured.get()
        if self.console.is_terminal:
            self.console.file.write(text)
        else:
            lines = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
            self.console.file.write(ascii_only(lines) if self._ascii else lines)

    async def _tell(self, board: Board) -> None:
        while True:
            await asyncio.sleep(PLAIN_EVERY_S)
            self._tell_once(board)

    def _tell_once(self, board: Board) -> None:
        """What is new, and how far it is: plain lines."""
        for line in board.news:
            self.say(Text("  ") + line.text())
        board.news.clear()
        got = ", ".join(f"{one.name} {len(one.kept)}" for one in board.receivers)
        so_far = f"{board.clock:%H:%M} {_so_far(board)}; received: {got}"
        if so_far != self._said:
            self._said = so_far
            self.say(so_far)
        self.console.file.flush()


def _so_far(board: Board) -> str:
    sent = board.sent
    return (
        f"{sum(sent.values())} of {board.total} sent: {sent[Fate.ACCEPTED]} accepted, "
        f"{sent[Fate.DUPLICATE]} duplicates, {sent[Fate.REFUSED]} refused"
    )


def _board(board: Board) -> RenderableType:
    """The clock and how far it is, a panel for each receiver, the latest lines."""
    head = Text.assemble(
        ("A day in a tea shop  ", "bold"), (f"{board.clock:%H:%M}", "bold cyan"), f"  {_so_far(board)}"
    )
    panels = Table.grid(expand=True)
    for _ in board.receivers:
        panels.add_column(ratio=1)
    panels.add_row(*(_panel(one, board.due[one.name]) for one in board.receivers))
    lines = list(board.lines.values())[-LINES_SHOWN:]
    recent = Text("\n", no_wrap=True, overflow="ellipsis").join([line.text() for line in lines])
    recent.no_wrap, recent.overflow = True, "ellipsis"
    bar = ProgressBar(total=board.total, completed=sum(board.sent.values()))
    return Group(head, bar, panels, Panel(recent, height=LINES_SHOWN + 2, title="latest", title_align="left"))


def _panel(receiver: Receiver, due: int) -> Panel:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(style="dim")
    grid.add_column(justify="right")
    grid.add_row("received", Text(str(len(receiver.kept)), "bold green"))
    grid.add_row("on its way", str(max(0, due - len(receiver.kept))))
    grid.add_row("errors", Text(str(receiver.rejected + receiver.cut), "yellow"))
    grid.add_row("repeats", str(receiver.repeats))
    return Panel(grid, title=" · ".join(filter(None, (receiver.name, receiver.nature))), title_align="left")


def _door(sums: Sums) -> Table:
    """What came in."""
    table = Table("requests", "", "", title="At the node's door", **_LOOK)
    table.columns[0].justify = "right"
    table.add_row(str(sums.sent), "sent", style="bold", end_section=True)
    for trick in Trick:
        if trick in sums.refused:
            table.add_row(str(sums.refused[trick]), "refused", f"{trick.value} ({trick.status})")
    table.add_row(str(sums.duplicates), "duplicates", "answered 2xx and dropped", end_section=True)
    table.add_row(str(sums.accepted), "accepted", "on disk, on their way to whoever wants them", style="bold")
    return table


def _receivers(sums: Sums) -> Table:
    """Who got what."""
    table = Table("receiver", title="At the receivers", **_LOOK)
    for name in ("expected", "delivered", "attempts", "retried", "repeats\nseen", "badly\nsigned", "lost"):
        table.add_column(name, justify="right")
    for row in sums.rows:
        figures = (row.expected, row.delivered, row.attempts, row.retried, row.repeats, row.invalid)
        lost = Text(str(row.lost), "green" if row.lost == 0 else "bold red")
        table.add_row(row.name, *map(str, figures), lost)
    return table
