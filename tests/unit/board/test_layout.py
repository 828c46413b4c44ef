"""What people read: numbers, dashes for what is not known, losses and costs always."""

import pytest

from taskstream.board.board import Board
from taskstream.board.choice import Choice, rows_of
from taskstream.board.layout import cells, columns_of, number, standing
from taskstream.board.reading import RATES, VIEWS
from taskstream.chart.chart import NETDATA
from taskstream.hook import RELEASE_LATE
from tests.readings import SECOND, START_NS, rates, reading

STATES = {
    "ring": 0,
    "skipped": 0,
    "dropped": 0,
    "cpu": 1.25,
    "resident": 61.7,
    "queued": 3,
    "zombies": 2,
    "oldest": 1.5,
}


def board(*readings) -> Board:
    made = Board()
    for one in readings:
        made.take(one)
    return made


def shown(of: Board, choice: Choice, width: int = 140) -> list[dict[str, str]]:
    columns = columns_of(choice, width)
    return [
        dict(zip((c.key for c in columns), cells(row, columns, choice), strict=True))
        for row in rows_of(of, choice)
    ]


def test_a_row_has_its_name_its_rates_and_its_past():
    found = board(
        *(reading(n, command={"ls": rates(n, exits=1234.5, failures=None)}) for n in (1, 2))
    )
    (row,) = shown(found, Choice(host="web-3"))
    assert row.pop("").strip() == "▅█"
    assert row == {
        "name": "ls",
        "processes": "2",
        "threads": "0",
        "exits": "1,234",
        "releases": "0",
        "failures": "-",
    }


def test_the_past_is_that_of_the_column_by_which_the_rows_are_sorted():
    found = board(
        reading(1, command={"ls": rates(1, exits=9)}), reading(2, command={"ls": rates(9)})
    )
    (row,) = shown(found, Choice(sort="exits"))
    assert row[""].strip() == "█▁"
    assert columns_of(Choice(sort="exits"), 140)[-1].title == "exits/s"
    assert columns_of(Choice(sort="name"), 140)[-1].title == f"{RATES[0]}/s"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [20, 80, 200])
def test_columns_are_never_narrower_than_their_titles_and_the_name_has_room(view, width):
    for column in columns_of(Choice(view=view), width):
        assert column.chars > len(column.title) or not column.right
    assert columns_of(Choice(view=view), width)[0].chars >= 12


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.2, "0.2"),
        (12.0, "12"),
        (999.5, "999.5"),
        (1234.5, "1,234"),
        (-3.5, "-3.5"),
    ],
)
def test_a_number_is_for_people_and_unknown_is_none(value, text):
    assert number(value) == text


def test_a_name_cannot_command_the_terminal():
    found = board(reading(1, command={"\x1b]0;x\x07": rates(1)}, host="a\rb"))
    (row,) = shown(found, Choice())
    assert row["name"].isprintable()
    assert row["host"].isprintable()


def test_losses_and_costs_are_said_also_when_there_are_none():
    found = standing(board(reading(1, states=STATES)), Choice())
    assert found.loss == "lost in the ring 0   missed by the kernel 0   dropped 0"
    assert not found.is_lossy
    assert found.cost == (
        "agent: CPU 1.2 % of a core   memory 62 MiB   queue 3   zombies 2 (oldest 1.5 s)"
    )


def test_losses_of_a_while_ago_are_still_said():
    lossy = reading(1, states={**STATES, "ring": 4500, "dropped": 2})
    found = standing(board(lossy, *(reading(n, states=STATES) for n in range(2, 100))), Choice())
    assert found.loss == "lost in the ring 4,500   missed by the kernel 0   dropped 2"
    assert found.is_lossy


def test_what_a_spool_lost_is_said_where_it_lost_anything():
    states = {**STATES, "ring_fill": 12.4, "spool_fill": 50, "spool_dropped": 0, "spool_damaged": 3}
    found = standing(board(reading(1, states=states)), Choice())
    assert found.loss.endswith("dropped 0   damaged in the spool 3")
    assert found.is_lossy
    assert "queue 3   ring 12 %   spool 50 %   zombies" in found.cost


def test_losses_and_costs_that_nobody_told_of_are_not_zero():
    found = standing(board(reading(1)), Choice())
    assert found.loss == "lost in the ring -   missed by the kernel -   dropped -"
    assert found.cost == "agent: CPU -   memory -   queue -   zombies -"


def test_of_several_hosts_they_are_summed_and_of_one_alone_they_are_its_own():
    both = board(
        reading(1, states=STATES), reading(1, host="db-1", states={**STATES, "ring": 1, "cpu": 8})
    )
    assert standing(both, Choice()).cost.startswith("agents: CPU 9.2 % of a core   memory 123 MiB")
    assert standing(both, Choice()).loss.startswith("lost in the ring 1")
    assert standing(both, Choice(host="web-3")).loss.startswith("lost in the ring 0")


def test_before_the_first_interval_it_is_said_that_there_is_none():
    assert standing(Board(), Choice()).when == "waiting for the first interval to end"


def test_what_must_be_known_of_the_numbers_is_noted():
    plain = standing(board(reading(1, command={})), Choice())
    assert plain.notes == []
    special = reading(1, command={}, release_late=True, exact=False, semantics=NETDATA)
    notes = standing(board(special), Choice()).notes
    assert notes[0] == RELEASE_LATE
    assert len(notes) == 3


def test_a_note_that_holds_for_some_hosts_names_them():
    some = board(reading(1, command={}, release_late=True), reading(1, host="db-1", command={}))
    assert standing(some, Choice()).notes == [f"web-3: {RELEASE_LATE}"]


def test_a_host_that_fell_silent_is_named():
    notes = standing(board(reading(1, command={})), Choice(), START_NS + 61 * SECOND).notes
    assert notes == ["web-3: nothing for 60 s"]


@pytest.mark.parametrize("view", VIEWS[1:])
def test_a_view_by_which_nobody_counts_says_what_to_set(view):
    (note,) = standing(board(reading(1)), Choice(view=view)).notes
    assert note.startswith(f"nobody counts by {view}: ")


def test_intervals_that_are_not_shown_are_counted():
    found = board(reading(2, command={}), reading(1, command={}))
    assert "1 intervals came after later ones" in standing(found, Choice()).notes[0]
