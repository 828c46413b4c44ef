"""What a test needs of this machine, and what becomes of it where that is missing: it fails.

A test that was skipped has shown nothing, and looks like one that passed. ``make test`` brings
all that can be brought; root and a kernel with BTF are for who starts it to bring, or to go
without: with TASKSTREAM_MAY_SKIP=1 such tests are skipped, and say what they lack.
"""

import os
from typing import NoReturn

import pytest

__all__ = ["go_without", "need_root"]

MAY_SKIP = "TASKSTREAM_MAY_SKIP"


def go_without(missing: str) -> NoReturn:
    """Fail a test for want of something; skip it, where that is allowed."""
    if os.environ.get(MAY_SKIP) == "1":
        pytest.skip(missing)
    pytest.fail(f"{missing} ({MAY_SKIP}=1 skips what needs it)", pytrace=False)


def need_root(why: str) -> None:
    """Fail or skip a test unless root runs it."""
    if os.geteuid():
        go_without(f"not root: {why}")
