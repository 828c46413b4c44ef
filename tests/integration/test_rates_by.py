"""What each value of ``taskstream rates --by`` adds, and that all of it is one sum."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent_run import Run
from tests.capturing import a_capture
from tests.command import taskstream

# The charts, and the groups, that each value adds to what is always there.
ADDED = {
    "app": {"app": {"app"}},
    "cgroup": {"cgroup": {"cgroup"}, "services": {"service"}},
    "service": {"cgroup": {"cgroup"}, "services": {"service"}},
    "comm": {"command": {"command"}},
    "user": {"user": {"user"}},
}
ALWAYS = {"system", "taskstream"}
Rates = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the capture of a host whose ring overflowed."""
    run = Run(lost=0.1, commands=5)
    return a_capture(tmp_path_factory.mktemp("by") / "a.tsc", [*run.batches, *run.reports])


@pytest.fixture(scope="module")
def rates(path: Path) -> Rates:
    """Return what runs ``taskstream rates --json`` by some values."""

    def intervals(*by: str, more: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        words = [word for one in by for word in ("--by", one)]
        done = taskstream("rates", path, "--json", *words, *more)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.lines]

    return intervals


def summed(interval: dict[str, Any], *dimensions: str) -> Counter[str]:
    """Sum the groups of some dimensions."""
    groups = interval["groups"]
    return sum((Counter(g) for d in dimensions for g in groups[d].values()), Counter())


@pytest.mark.parametrize("by", ["host", "system"])
@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "lines"])
def test_by_host_and_by_system_are_what_is_always_there(path, by, form):
    plain = taskstream("rates", path, *form)
    assert "process_thread" in plain.out
    assert taskstream("rates", path, *form, "--by", by) == plain


@pytest.mark.parametrize("by", ADDED)
def test_each_value_adds_its_charts_and_its_groups_and_no_others(rates, by):
    plain, found = rates(), rates(by)
    dimensions = set().union(*ADDED[by].values())
    for before, interval in zip(plain, found, strict=True):
        prefixes = {context.partition(".")[0] for context in interval["charts"]}
        assert prefixes - ALWAYS <= ADDED[by].keys()
        assert {d for d in interval["groups"] if d not in before["groups"]} <= dimensions
        added = [c for c in interval["charts"] if c.partition(".")[0] in ADDED[by]]
        kept = {c: chart for c, chart in interval["charts"].items() if c not in added}
        assert kept == before["charts"]
    charts = {context for interval in found for context in interval["charts"]}
    assert {c.partition(".")[0] for c in charts} - ALWAYS == ADDED[by].keys()


@pytest.mark.parametrize("by", ADDED)
def test_the_groups_of_each_value_add_up_to_the_host(rates, by):
    found = rates(by)
    dimensions = set().union(*ADDED[by].values())
    for interval in found:
        assert summed(interval, *dimensions) == summed(interval, "host")
    whole = sum((Counter(interval["counts"]) for interval in found), Counter())
    total = sum((summed(interval, *dimensions) for interval in found), Counter())
    del total["fork_by_init"]  # forks that are in another count, too
    assert total == whole
    assert whole["exec"] == 300


def test_groups_beyond_the_limit_are_in_other_so_that_the_sum_stays(rates):
    for interval in rates("comm", more=("--limit", "2")):
        assert summed(interval, "command") == summed(interval, "host")
        assert len(interval["groups"]["command"]) <= 3


def test_all_values_at_once_are_each_of_them_alone(rates):
    whole = rates(*ADDED, "host", "system")
    for by in ADDED:
        for together, alone in zip(whole, rates(by), strict=True):
            assert together["charts"].items() >= alone["charts"].items()
            for dimension, groups in alone["groups"].items():
                assert together["groups"][dimension] == groups
