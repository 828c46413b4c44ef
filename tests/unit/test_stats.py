"""The books balance, and the closing line shows that they do."""

import re
from typing import Any

import pytest

from taskstream.stats import Account, RunTotals


def totals(account: Account, **values: int) -> RunTotals:
    defaults: dict[str, Any] = {"counted": 0, "read": 0, "lost": 0, "running": 0, "missed": 0}
    return RunTotals(**{**defaults, **values}, account=account)


def sums(line: str) -> list[list[int]]:
    """Return the values of each equation of a line, one list per side."""
    found = []
    for equation in line.split(";"):
        sides = [
            sum(int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", side))
            for side in equation.split("=")
        ]
        found.append(sides)
    return found


def test_what_has_no_fate_yet_is_in_flight():
    account = Account(received=100, delivered=60, rejected=5, dropped=15)
    assert account.in_flight == 20


def test_a_fresh_account_has_nothing_in_flight():
    assert Account().in_flight == 0


FATES = [
    totals(Account(1110, 1110), counted=1000, read=1000, running=110),
    totals(Account(1110, 1000, 7, 100), counted=1000, read=1000, running=110),
    totals(Account(1110, 1000, 7, 100), counted=3000, read=1000, lost=2000, running=110),
    totals(Account(5, 1), counted=9, read=5, lost=1),
    totals(Account(5, unpublished=5), counted=5, read=4, lost=1, running=1),
    totals(Account(), counted=0),
    totals(Account(1_000_000, 999_978, 0, 22), counted=1_000_003, read=1_000_000, lost=3),
]


@pytest.mark.parametrize("run", FATES, ids=str)
def test_every_equation_of_the_closing_line_holds(run):
    for sides in sums(run.line()):
        assert len(set(sides)) == 1, run.line()


def test_the_closing_line_names_every_fate():
    account = Account(received=1110, delivered=1000, rejected=7, dropped=100)
    run = totals(account, counted=1207, read=1000, lost=200, running=110)
    assert run.line() == (
        "counted 1,207 = read 1,000 + lost 200 + unread 7; read 1,000 + running tasks 110 = "
        "received 1,110 = delivered 1,000 + rejected 7 + dropped 100 + unacknowledged 3"
    )


def test_a_run_without_losses_has_a_short_line():
    run = totals(Account(1110, 1110), counted=1000, read=1000, running=110)
    assert run.line() == (
        "counted 1,000 = read 1,000 + lost 0; read 1,000 + running tasks 110 = "
        "received 1,110 = delivered 1,110 + dropped 0"
    )


def test_what_the_kernel_skipped_is_said_and_is_in_no_sum():
    run = totals(Account(10, 10), counted=10, read=10, missed=1234)
    assert run.line().endswith("; skipped by the kernel, uncounted: 1,234")


@pytest.mark.parametrize(
    ("run", "complete"),
    [
        (totals(Account(15, 15), counted=10, read=10, running=5), True),
        (totals(Account(15, 15), counted=11, read=10, lost=1, running=5), False),
        (totals(Account(15, 15), counted=11, read=10, running=5), False),
        (totals(Account(15, unpublished=15), counted=10, read=10, running=5), True),
        (totals(Account(15, unpublished=15), counted=11, read=10, lost=1, running=5), False),
        (totals(Account(15, 14), counted=10, read=10, running=5), False),
        (totals(Account(15, 14, 1), counted=10, read=10, running=5), False),
        (totals(Account(15, 14, 0, 1), counted=10, read=10, running=5), False),
        (totals(Account(15, 15), counted=10, read=10, running=5, missed=1), False),
        (totals(Account()), True),
    ],
)
def test_a_run_is_complete_only_if_every_event_was_delivered(run, complete):
    assert run.complete == complete


def test_what_is_on_the_disk_is_neither_lost_nor_in_flight():
    account = Account(received=12, delivered=7, spooled=5)
    totals = RunTotals(counted=10, read=10, lost=0, running=2, missed=0, account=account)
    assert account.in_flight == 0
    assert totals.complete
    assert totals.line().endswith("received 12 = delivered 7 + dropped 0 + spooled 5")


def test_what_is_for_no_topic_is_not_said_to_be_delivered():
    run = totals(Account(15, unpublished=15), counted=10, read=10, running=5)
    assert run.line().endswith("received 15 = unpublished 15 + dropped 0")


def test_what_a_file_has_is_said_to_be_written():
    run = totals(Account(15, 14, dropped=1), counted=10, read=10, running=5)
    assert run.line("written").endswith("received 15 = written 14 + dropped 1")
