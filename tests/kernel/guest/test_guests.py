"""Every hook mode on other kernels: exact, or refused in the words that were promised.

The fast part boots two kernels; ``make test-all`` boots all (marker ``matrix``).
"""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from tests.kernel.guest.matrix import CASES, Case, surprise
from tests.kernel.guest.table import Result
from tests.needs import go_without


def cases(*, refused: bool) -> list[object]:
    """Return the cases that must be refused, or those that must not."""
    return [
        pytest.param(
            case,
            id=str(case).replace("`", ""),
            marks=() if case.fast else pytest.mark.matrix,
        )
        for case in CASES
        if bool(case.refusal) == refused
    ]


@pytest.fixture(scope="session")
def results(underway: Future[dict[Case, Result]]) -> Mapping[Case, Result]:
    """Wait for the guests."""
    return underway.result()


def judge(case: Case, result: Result) -> None:
    if result.verdict.outcome == "not fetched":
        go_without(result.verdict.message)
    assert not surprise(case, result.verdict)


@pytest.mark.parametrize("case", cases(refused=False))
def test_the_known_workload_is_recorded_exactly(case: Case, results: Mapping[Case, Result]) -> None:
    judge(case, results[case])


@pytest.mark.parametrize("case", cases(refused=True))
def test_a_source_that_cannot_start_says_why(case: Case, results: Mapping[Case, Result]) -> None:
    judge(case, results[case])
