"""The live screen: a board on a terminal, with keys.

Rim: touches the terminal through textual, and the clock by which it looks at its feed. What is
shown, in which order and in which words is said by ``taskstream.board``, which is pure; here are
places, colours and keys. Only the rows that are visible are drawn, however many there are.
"""

from collections.abc import Callable
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from taskstream.board.board import Board, Row
from taskstream.board.choice import Choice, rows_of
from taskstream.board.layout import GAP_CHARS, Column, cells, columns_of, standing
from taskstream.board.reading import VIEWS
from taskstream.errors import TaskstreamError
from taskstream.feed import Feed
from taskstream.text import printable, printable_lines

__all__ = ["Top"]

LOOK_S = 0.25
"""How often the feed is looked at."""

HELP = """\
[b]Views[/b]
  1 system   2 app   3 cgroup   4 service   5 command   6 user      Tab, Shift-Tab: the next

[b]Rows[/b]
  < >        sort by the column at the left, at the right      r  the other way round
  /          show what has a text in its name or its host's    Esc  show all again
  h          one host after another, then all
  Space      hold the rows still; losses and costs go on

[b]Columns[/b]
  processes, threads   created per second
  exits                tasks that began to exit
  releases             dead tasks that were released
  failures             failed fork, vfork, clone and clone3 calls; - unless the agent
                       watches them (--load-mode return)
  the blocks           the last intervals of the column by which the rows are sorted,
                       the highest as a full block; blank is not known

[b]Losses[/b], since this screen was opened
  lost in the ring     counted by the kernel, in the system and where it tells whose they were
  missed               the kernel skipped a probe: counted by nobody
  dropped              read, but given up for want of room in the agent's queue

A dash is not known; that is not zero.                                   any key: back\
"""


class Table(ScrollView, can_focus=True):
    """The rows, under a head that stays."""

    DEFAULT_CSS = """
    Table { height: 1fr; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._columns: list[Column] = []
        self._choice = Choice()

    def show(self, rows: list[Row], choice: Choice) -> None:
        """Draw other rows."""
        self._rows, self._choice = rows, choice
        self._lay_out()

    def _lay_out(self) -> None:
        self._columns = columns_of(self._choice, self.scrollable_content_region.width)
        width = sum(column.chars + GAP_CHARS for column in self._columns)
        self.virtual_size = Size(width, len(self._rows) + 1)
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        """Use the room that there is."""
        self._lay_out()

    def render_line(self, y: int) -> Strip:
        """Draw a line: the head, or a row."""
        x, first = self.scroll_offset
        row = first + y - 1
        if y == 0:
            strip = self._head()
        elif row < len(self._rows):
            strip = self._row(self._rows[row])
        else:
            return Strip.blank(self.size.width, self.rich_style)
        return strip.crop_extend(x, x + self.size.width, self.rich_style)

    def _head(self) -> Strip:
        sort = self._choice.sort
        arrow = "▾" if self._choice.descending else "▴"
        segments = []
        for column in self._columns:
            style = Style(bold=True, reverse=column.key == sort)
            title = column.title + (arrow if column.key == sort else "")
            segments += _cell(title, column, style)
        return Strip(segments).apply_style(self.rich_style)

    def _row(self, row: Row) -> Strip:
        segments = []
        texts = cells(row, self._columns, self._choice)
        for column, text in zip(self._columns, texts, strict=True):
            quiet = text in ("0", "-")
            style = Style(dim=quiet) if column.key else Style(color="cyan")
            segments += _cell(text, column, style)
        return Strip(segments).apply_style(self.rich_style)


def _cell(text: str, column: Column, style: Style) -> list[Segment]:
    """Return a cell of a column's width, and the gap behind it."""
    if column.right:
        text = text.rjust(column.chars)
    return [Segment(set_cell_size(text, column.chars), style), Segment(" " * GAP_CHARS)]


def _say(place: Static, text: Text) -> None:
    """Draw a text where it differs from what is there."""
    if place.content != text:
        place.update(text)


class Help(ModalScreen[None]):
    """What the keys and the columns are; any key leaves it."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Static { width: auto; height: auto; padding: 1 2; border: round $primary; }
    """

    def compose(self) -> ComposeResult:
        """Make the text."""
        yield Static(HELP)

    def on_key(self, event: events.Key) -> None:
        """Leave."""
        event.stop()
        self.dismiss()


class Top(App[None]):
    """The screen.

    Args:
        feed: Where the readings come from.
        choice: What is shown first.
        now_wall_ns: CLOCK_REALTIME, which tells silent hosts; None where it has no meaning.
        stop: Tells, at each look, whether to leave.

    Attributes:
        failure: Why the feed ended, if it failed.
    """

    TITLE = "taskstream top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #title, #tabs, #loss, #cost { height: 1; }
    #title { color: $text-accent; }
    #notes { height: auto; max-height: 6; color: $text-warning; }
    #loss.lossy { color: $text-error; text-style: bold; }
    #filter { display: none; border: none; height: 1; padding: 0; }
    #filter.open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("less_than_sign", "sort(-1)", "Sort", key_display="< >"),
        Binding("greater_than_sign", "sort(1)", "Sort", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("h", "host", "Host"),
        Binding("space", "pause", "Pause"),
        Binding("tab", "view(1)", "View", priority=True),
        Binding("shift+tab", "view(-1)", "View", show=False, priority=True),
        Binding("question_mark", "help", "Help"),
        Binding("q,ctrl+c", "quit", "Quit", priority=False),
        Binding("escape", "all", "All", show=False),
        *(Binding(str(n), f"choose_view('{v}')", v, show=False) for n, v in enumerate(VIEWS, 1)),
    ]

    def __init__(
        self,
        feed: Feed,
        choice: Choice,
        *,
        now_wall_ns: Callable[[], int] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.failure: TaskstreamError | None = None
        self._feed, self._choice = feed, choice
        self._now_wall_ns, self._stop = now_wall_ns, stop
        self._board = Board()
        self._held: Board | None = None
        self._title = Static(id="title")
        self._tabs = Static(id="tabs")
        self._table = Table()
        self._notes = Static(id="notes")
        self._loss = Static(id="loss")
        self._cost = Static(id="cost")
        self._filter = Input(
            id="filter", placeholder="text in a name; Enter keeps it, Esc does not"
        )

    def compose(self) -> ComposeResult:
        """Make the places, from top to bottom."""
        yield self._title
        yield self._tabs
        yield self._table
        yield self._notes
        yield self._loss
        yield self._cost
        yield self._filter
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look at the feed."""
        self._table.focus()
        self._draw()
        self.set_interval(LOOK_S, self.look)

    # --- what is shown ---

    def look(self) -> None:
        """Take what came, and draw it."""
        if self._stop():
            self.exit()
            return
        try:
            readings = self._feed.take()
        except TaskstreamError as error:
            self.failure = error
            self.exit()
            return
        for reading in readings:
            self._board.take(reading)
        self._draw(rows=bool(readings))

    def _draw(self, *, rows: bool = True) -> None:
        """Draw what is always visible, and the rows if there are other ones."""
        now_ns = self._now_wall_ns() if self._now_wall_ns else None
        now = standing(self._board, self._choice, now_ns)
        held = " [HELD]" if self._held else ""
        over = " (ended)" if self._feed.over else ""
        title = f"{self.TITLE}   {printable(self._feed.title)}{over}   {now.when}{held}"
        _say(self._title, Text(title))
        _say(self._tabs, self._views())
        _say(self._loss, Text(now.loss))
        self._loss.set_class(now.is_lossy, "lossy")
        _say(self._cost, Text(now.cost))
        notes = [*self._feed.notes(), *now.notes]
        _say(self._notes, Text("\n".join(map(printable_lines, dict.fromkeys(notes)))))
        if rows:
            found = rows_of(self._held or self._board, self._choice, now_ns)
            self._table.show(found, self._choice)

    def _views(self) -> Text:
        text = Text()
        for number, view in enumerate(VIEWS, 1):
            style = Style(bold=True, reverse=True) if view == self._choice.view else Style(dim=True)
            text.append(f" {number} {view} ", style)
        if self._choice.host:
            text.append(f"   host {printable(self._choice.host)}", Style(bold=True))
        if self._choice.text:
            text.append(f"   /{printable(self._choice.text)}", Style(bold=True))
        return text

    def _choose(self, choice: Choice) -> None:
        self._choice = choice
        self._draw()

    # --- keys ---

    def action_choose_view(self, view: str) -> None:
        """Show another view."""
        self._choose(self._choice.with_view(view))

    def action_view(self, step: int) -> None:
        """Show the view next to this."""
        self._choose(self._choice.next_view(step))

    def action_sort(self, step: int) -> None:
        """Sort by the column next to this."""
        self._choose(self._choice.next_sort(step))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._choose(self._choice.reversed())

    def action_host(self) -> None:
        """Show the next host alone, after the last one all."""
        self._choose(self._choice.next_host(sorted(self._board.hosts)))

    def action_pause(self) -> None:
        """Hold the rows still, or let them go on."""
        self._held = None if self._held else self._board.copy()
        self._draw()

    def action_help(self) -> None:
        """Explain."""
        self.push_screen(Help())

    def action_filter(self) -> None:
        """Ask for a text."""
        self._filter.add_class("open")
        self._filter.focus()

    def action_all(self) -> None:
        """Forget the text."""
        self._filter.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what the text leaves, while it is typed."""
        self._choose(self._choice.with_text(event.value))

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Keep the text."""
        self._close_filter()

    def _close_filter(self) -> None:
        self._filter.remove_class("open")
        self._table.focus()
