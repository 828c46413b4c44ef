"""The benchmarks measure the code that there is now: each of them comes to an end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.long]

MAIN = Path(__file__).parents[1] / "bench" / "__main__.py"
THEMES = re.findall(r'^    "([a-z-]+)": \w+\.\w+,$', MAIN.read_text(), re.MULTILINE)
IN_GUESTS = {"mode-guest"}


@pytest.mark.parametrize("theme", sorted(set(THEMES) - IN_GUESTS))
def test_a_theme_of_the_benchmarks_can_be_measured(theme):
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", theme]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n| ") > 2
