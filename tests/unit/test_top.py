"""The live screen under textual's own pilot: what keys do, and what is always to be seen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskstream.board.choice import Choice
from taskstream.board.reading import VIEWS, Reading
from taskstream.errors import BrokerError
from taskstream.sink.top import LOOK_S, Top
from tests.readings import SECOND, START_NS, rates, reading

COMMANDS = {"cc1": rates(10, exits=1), "ls": rates(20, exits=2), "make": rates(5, exits=9)}
STATES = {"ring": 0, "skipped": 0, "dropped": 0, "cpu": 1.0, "resident": 60, "queued": 0}


class Feed:
    """Gives what it was told to give."""

    title = "build-7"
    over = False
    live = True

    def __init__(self, *readings: Reading) -> None:
        self.given = list(readings)
        self.told: list[str] = []
        self.error: BrokerError | None = None

    def take(self) -> list[Reading]:
        if self.error:
            raise self.error
        given, self.given = self.given, []
        return given

    def notes(self) -> list[str]:
        return self.told


def text_of(app: Top) -> list[str]:
    """Return the lines that the terminal shows."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).ljust(width) for strip in lines[:height]]


def names(app: Top) -> list[str]:
    """Return the first words of the rows, from top to bottom."""
    table = app._table
    lines = [table.render_line(y).text for y in range(1, table.size.height)]
    return [line.split()[0] for line in lines if line.strip()]


Act = Callable[[Top, Any], Awaitable[None]]


def show(act: Act, *readings: Reading, size: tuple[int, int] = (140, 30), **options: Any) -> Top:
    """Open the screen, let it take the readings, and act."""
    feed = options.pop("feed", None) or Feed(*readings)
    app = Top(feed, options.pop("choice", Choice()), **options)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            app.look()
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(run())
    return app


FIRST = reading(1, command=COMMANDS, app={"build": rates(30)}, states=STATES)


def test_rows_are_shown_from_the_highest_with_their_rates_and_their_past():
    async def act(app, pilot):
        assert names(app) == ["ls", "cc1", "make"]
        (line,) = [line for line in text_of(app) if "ls " in line]
        assert line.split() == ["ls", "web-3", "20", "0", "2", "0", "0", "█"]

    show(act, FIRST)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_has_a_key(view):
    async def act(app, pilot):
        await pilot.press(str(VIEWS.index(view) + 1))
        assert names(app) == [f"{view}-a"]

    views = {name: {f"{name}-a": rates(1)} for name in VIEWS}
    show(act, reading(1, **views), choice=Choice(view=VIEWS[VIEWS.index(view) - 1]))


def test_tab_goes_through_the_views():
    async def act(app, pilot):
        for view in (*VIEWS[5:], *VIEWS[:5]):
            await pilot.press("tab")
            assert f"{VIEWS.index(view) + 1} {view}" in text_of(app)[1]
            assert app._choice.view == view
        await pilot.press("shift+tab")
        assert app._choice.view == VIEWS[3]

    show(act, FIRST)


def test_keys_sort_by_the_next_column_and_turn_the_order_round():
    async def act(app, pilot):
        await pilot.press("greater_than_sign", "greater_than_sign")
        assert "exits/s▾" in text_of(app)[2]
        assert names(app) == ["make", "ls", "cc1"]
        await pilot.press("r")
        assert "exits/s▴" in text_of(app)[2]
        assert names(app) == ["cc1", "ls", "make"]
        await pilot.press("less_than_sign")
        assert "threads/s▾" in text_of(app)[2]
        assert names(app) == ["ls", "make", "cc1"]

    show(act, FIRST)


def test_a_text_filters_while_it_is_typed_and_escape_forgets_it():
    async def act(app, pilot):
        await pilot.press("slash", "c", "1")
        assert names(app) == ["cc1"]
        await pilot.press("enter")
        assert names(app) == ["cc1"]
        assert "/c1" in text_of(app)[1]
        await pilot.press("escape")
        assert len(names(app)) == 3

    show(act, FIRST)


def test_keys_that_are_typed_into_the_filter_are_no_commands():
    async def act(app, pilot):
        await pilot.press("slash", "q", "r", "1")
        assert app._choice.text == "qr1"
        assert app.is_running
        assert app._choice.view == "command"

    show(act, FIRST)


def test_pause_holds_the_rows_and_not_the_losses():
    async def act(app, pilot):
        await pilot.press("space")
        app._feed.given = [reading(2, command={"late": rates(1)}, states={**STATES, "ring": 77})]
        app.look()
        await pilot.pause()
        assert names(app) == ["ls", "cc1", "make"]
        shown = "\n".join(text_of(app))
        assert "[HELD]" in shown
        assert "lost in the ring 77" in shown
        await pilot.press("r")
        assert names(app) == ["make", "cc1", "ls"]
        await pilot.press("space")
        assert names(app) == ["late"]

    show(act, FIRST)


def test_help_explains_and_any_key_leaves_it_while_the_feed_goes_on():
    async def act(app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert "Views" in "\n".join(text_of(app))
        app._feed.given = [reading(2, command={"new": rates(1)}, states=STATES)]
        app.look()
        await pilot.press("q")
        await pilot.pause()
        assert app.is_running
        assert names(app) == ["new"]

    show(act, FIRST)


def test_one_host_after_another_is_shown_alone():
    async def act(app, pilot):
        assert sorted(names(app)) == ["cc1", "ls", "make", "psql"]
        await pilot.press("h")
        assert "host db-1" in text_of(app)[1]
        assert names(app) == ["psql"]
        await pilot.press("h", "h")
        assert len(names(app)) == 4

    show(act, FIRST, reading(1, host="db-1", command={"psql": rates(1)}))


def test_losses_and_costs_are_on_every_view_also_when_there_is_no_room():
    async def act(app, pilot):
        for key in "123456":
            await pilot.press(key)
            shown = "\n".join(text_of(app))
            assert "lost in the ring 3   missed by the kernel 0   dropped 0" in shown
            assert "CPU 1.0 %" in shown

    show(act, reading(1, states={**STATES, "ring": 3}), size=(80, 10))


def test_losses_stand_out():
    async def act(app, pilot):
        assert app._loss.has_class("lossy")
        app._feed.given = [reading(2, states=STATES)]

    show(act, reading(1, states={**STATES, "dropped": 1}))


def test_notes_of_the_feed_and_of_the_readings_are_shown():
    async def act(app, pilot):
        app._feed.told = ["no trampolines: kprobes"]
        app.look()
        await pilot.pause()
        shown = "\n".join(text_of(app))
        assert "no trampolines: kprobes" in shown
        assert "an RCU grace period after release_task" in shown

    show(act, reading(1, command=COMMANDS, release_late=True))


def test_a_host_that_falls_silent_is_said_without_a_reading():
    time = {"ns": START_NS + SECOND}

    async def act(app, pilot):
        assert "nothing for" not in "\n".join(text_of(app))
        time["ns"] += 60 * SECOND
        app.look()
        await pilot.pause()
        assert "web-3: nothing for 60 s" in "\n".join(text_of(app))

    show(act, FIRST, now_wall_ns=lambda: time["ns"])


def test_the_rows_can_be_scrolled_under_a_head_that_stays():
    many = {f"c{n:03}": rates(1000 - n) for n in range(500)}

    async def act(app, pilot):
        head = text_of(app)[2]
        await pilot.press("end")
        await pilot.pause(0.5)
        assert text_of(app)[2] == head
        assert names(app)[-1] == "c499"

    show(act, reading(1, command=many))


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (300, 80)])
def test_it_fits_any_terminal(size):
    async def act(app, pilot):
        for key in ("1", "tab", "question_mark", "q", "slash", "x", "enter"):
            await pilot.press(key)

    show(act, FIRST, size=size)


def test_a_row_fills_the_width_and_leaves_nothing_to_scroll_to():
    async def act(app, pilot):
        assert not app._table.show_horizontal_scrollbar
        assert app._table.virtual_size.width == app._table.scrollable_content_region.width == 139

    show(act, reading(1, command={f"c{n}": rates(n) for n in range(500)}), size=(140, 30))


def test_names_of_two_cells_a_letter_keep_the_columns_in_line():
    async def act(app, pilot):
        table = app._table
        assert {table.render_line(y).cell_length for y in range(4)} == {table.size.width}

    show(act, reading(1, command={"日本日本": rates(1), "ls": rates(1)}))


def test_it_leaves_when_told_to_and_when_the_feed_fails():
    async def nothing(app, pilot):
        await pilot.pause(2 * LOOK_S)

    told = show(nothing, FIRST, stop=lambda: True)
    assert told.failure is None
    feed = Feed(FIRST)
    feed.error = BrokerError("reading is refused")
    failed = show(nothing, feed=feed)
    assert failed.failure is feed.error


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_a_key_leaves(key):
    async def act(app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert app._exit

    show(act, FIRST)
