"""How many inputs property tests were given is told at the end of a run; a plugin of pytest.

Hypothesis describes each test in words, on the test's item: that is where the numbers are from.
"""

import re

import pytest

_TRIED = re.compile(r"(\d+) passing, (\d+) failing")

inputs_key = pytest.StashKey[list[int]]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Add up what a test was given, if it was a property test."""
    said = getattr(item, "hypothesis_statistics", "")
    if said:
        tried = sum(int(number) for pair in _TRIED.findall(said) for number in pair)
        item.config.stash.setdefault(inputs_key, []).append(tried)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tests = config.stash.get(inputs_key, [])
    if tests:
        terminalreporter.write_line(f"{sum(tests):,} inputs tried by {len(tests)} property tests")
