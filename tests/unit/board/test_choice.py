"""Which rows are shown, and in which order."""

import pytest

from taskstream.board.board import Board
from taskstream.board.choice import Choice, rows_of
from taskstream.board.reading import RATES, VIEWS
from tests.readings import SECOND, START_NS, rates, reading

TABLE = {
    "bash": rates(5, exits=50),
    "ls": rates(20, exits=1),
    "cc1": rates(10, failures=None),
    "make": rates(10, failures=3),
}


@pytest.fixture
def board() -> Board:
    made = Board()
    made.take(reading(1, command=TABLE, app={"build": rates(1)}))
    made.take(reading(1, host="db-1", command={"psql": rates(7), "ls": rates(1)}))
    return made


def names(board: Board, **choice) -> list[str]:
    return [row.name for row in rows_of(board, Choice(**{"host": "web-3", **choice}))]


def test_rows_are_in_order_from_the_highest(board):
    assert names(board, sort="exits")[:2] == ["bash", "ls"]


def test_equals_are_in_order_of_all_that_happens_and_then_of_their_names(board):
    assert names(board) == ["ls", "make", "cc1", "bash"]
    assert names(board, sort="threads") == ["bash", "ls", "make", "cc1"]
    board.take(reading(2, command={"b": rates(1), "a": rates(1)}))
    assert names(board) == ["a", "b"]


def test_the_order_can_be_turned_round(board):
    assert names(board, descending=False) == ["bash", "make", "cc1", "ls"]


def test_names_are_in_order_of_letters(board):
    assert names(board, sort="name", descending=False) == ["bash", "cc1", "ls", "make"]
    assert names(board, sort="name", descending=True) == ["make", "ls", "cc1", "bash"]


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_not_known_comes_last_in_either_direction(board, descending):
    assert names(board, sort="failures", descending=descending)[-1] == "cc1"


def test_every_column_of_every_view_sorts(board):
    for view in VIEWS:
        chosen = Choice(view=view)
        for column in chosen.columns:
            rows_of(board, chosen.with_sort(column))


def test_the_text_is_looked_for_in_names_in_any_case(board):
    assert names(board, text="S") == ["ls", "bash"]
    assert names(board, text="nothing such") == []


def test_the_text_is_looked_for_in_hosts_too(board):
    assert names(board, host="", text="db-") == ["psql", "ls"]


def test_hosts_stand_side_by_side_or_one_alone(board):
    rows = rows_of(board, Choice(text="ls"))
    assert [(row.host, row.name) for row in rows] == [("web-3", "ls"), ("db-1", "ls")]
    assert names(board, host="db-1") == ["psql", "ls"]


def test_the_system_has_a_row_for_each_host_also_for_a_silent_one(board):
    later = START_NS + 100 * SECOND
    rows = rows_of(board, Choice(view="system"), later)
    assert sorted(row.name for row in rows) == ["db-1", "web-3"]
    assert rows_of(board, Choice(), later) == []


def test_without_the_time_no_host_is_silent(board):
    """As of a capture, whose time is long ago."""
    assert len(rows_of(board, Choice(), None)) == 6


def test_what_agents_lost_and_cost_sorts_the_hosts():
    board = Board()
    board.take(reading(1, states={"ring": 1, "cpu": 2.0, "resident": 60}))
    board.take(reading(1, host="db-1", states={"ring": 5, "cpu": 1.0, "resident": 70}))
    board.take(reading(1, host="old-1"))
    chosen = Choice(view="system")
    for column, order in (
        ("lost", ["db-1", "web-3", "old-1"]),
        ("cpu", ["web-3", "db-1", "old-1"]),
        ("memory", ["db-1", "web-3", "old-1"]),
    ):
        assert [row.name for row in rows_of(board, chosen.with_sort(column))] == order


def test_views_follow_one_another_round():
    choice, seen = Choice(view="system"), []
    for _ in VIEWS:
        seen.append(choice.view)
        choice = choice.next_view()
    assert tuple(seen) == VIEWS
    assert choice.view == "system"
    assert choice.next_view(-1).view == VIEWS[-1]


def test_columns_follow_one_another_round():
    choice, seen = Choice(), []
    for _ in Choice().columns:
        seen.append(choice.sort)
        choice = choice.next_sort()
    assert set(seen) == set(Choice().columns)
    assert choice.next_sort(-1).next_sort().sort == choice.sort


def test_a_column_that_the_next_view_lacks_does_not_sort_it():
    choice = Choice(view="system").with_sort("cpu").with_view("app")
    assert (choice.sort, choice.descending) == (RATES[0], True)


def test_a_new_column_sorts_numbers_from_the_highest_and_names_from_a():
    assert Choice().with_sort("exits").descending
    assert not Choice().with_sort("name").descending
    assert Choice().reversed().descending is False


def test_the_host_filter_goes_through_all_hosts_and_back_to_all():
    choice, seen = Choice(sort="host"), []
    for _ in range(4):
        choice = choice.next_host(["db-1", "web-3"])
        seen.append(choice.host)
    assert seen == ["db-1", "web-3", "", "db-1"]
    assert choice.sort in choice.columns


def test_where_there_is_one_host_it_has_no_column(board):
    assert "host" in Choice().columns
    assert "host" not in Choice(side_by_side=False).columns
    assert "host" not in Choice(host="web-3").columns
