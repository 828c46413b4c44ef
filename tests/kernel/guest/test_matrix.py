"""What counts as expected, and what the table says of it; boots nothing."""

import dataclasses
from collections.abc import Sequence

import pytest

from tests.kernel.check import Verdict
from tests.kernel.guest.fetch import KERNELS
from tests.kernel.guest.matrix import ROWS, Case, Row, surprise
from tests.kernel.guest.table import Result, table

ROW = Row(name="a row", options={})
CASE = Case("6.12", ROW)


def case(**fields: object) -> Case:
    return Case("6.12", dataclasses.replace(ROW, **fields))


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("outcome", ["missed", "wrong", "refused", "crashed", "died"])
def test_only_exact_is_as_expected_where_nothing_else_was_promised(outcome: str) -> None:
    assert not surprise(CASE, Verdict("", "exact"))
    assert outcome in surprise(CASE, Verdict("", outcome))


def test_missed_events_are_expected_only_where_the_kernel_skips_programs() -> None:
    assert not surprise(case(skipped=("6.12",)), Verdict("", "missed"))
    assert surprise(case(skipped=("new",)), Verdict("", "missed"))


def test_a_refusal_is_expected_in_its_own_words_only() -> None:
    refused = case(refused={"6.12": "no BTF.*CONFIG"})
    assert not surprise(refused, Verdict("", "refused", "no BTF\nset CONFIG_X"))
    assert surprise(refused, Verdict("", "refused", "Invalid argument"))
    assert surprise(refused, Verdict("", "crashed", "no BTF: CONFIG_X"))
    assert surprise(refused, Verdict("", "exact"))


@pytest.mark.parametrize(
    ("notes", "complaint"),
    [
        (["no fentry: kprobes"], ""),
        ([], "it should note 'no fentry'"),
        (["no fentry: kprobes", "no ring"], "it should not note 'no ring'"),
    ],
)
def test_another_way_than_asked_for_must_be_noted_and_nothing_else(
    notes: list[str], complaint: str
) -> None:
    assert surprise(case(notes={"6.12": ["no fentry"]}), Verdict("", "exact", notes=notes)) == (
        complaint
    )


def test_the_table_says_each_refusal_and_note_once() -> None:
    def results(row: str, verdicts: Sequence[Verdict]) -> list[Result]:
        return [Result(k, f"{k}.0", row, v) for k, v in zip(KERNELS, verdicts, strict=False)]

    refused = Verdict("", "refused", "no BTF\nand more")
    noted = Verdict("", "missed", missed={"on_exit": 2, "on_fork": 1}, notes=["slow", "late"])
    text = table(
        [
            *results("one", [refused, refused]),
            *results("two", [noted, Verdict("", "exact")]),
        ]
    )
    assert text == (
        "|  | 5.10 | 6.1 |\n"
        "| --- | --- | --- |\n"
        "| release | 5.10.0 | 6.1.0 |\n"
        "| one | refused (1) | refused (1) |\n"
        "| two | exact, 3 missed (2, 3) | exact |\n"
        "\n1. no BTF\n2. slow\n3. late\n"
    )
