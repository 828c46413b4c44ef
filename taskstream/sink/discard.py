"""A sink for events that are published nowhere: the charts alone are wanted.

Its account says so of each: unpublished.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskstream.batch import Batch
from taskstream.record import COUNTS
from taskstream.report import Report
from taskstream.stats import Account

__all__ = ["Discard"]


class Discard:
    """Takes everything.

    Attributes:
        account: All that was received is unpublished.
        errors: Empty.
        other_errors: Empty.
        trouble: Empty.
    """

    def __init__(self) -> None:
        self.account = Account()
        self.errors: Counter[str] = Counter()
        self.other_errors: Counter[str] = Counter()
        self.trouble = ""

    def write(self, batch: Batch) -> None:
        """Count a batch."""
        self.account.received += len(batch)
        self.account.unpublished += len(batch)

    def report(self, report: Report) -> None:
        """Nobody reads it."""

    def send(
        self, what: str, topic: str, message: Mapping[str, Any], key: bytes, stamp_ms: int
    ) -> None:
        """Nobody reads it."""

    def tick(self) -> None:
        """Nothing is under way."""

    def settle(self, seconds: float) -> None:
        """Nothing is under way."""

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events that were given up, by ``COUNTS``: none."""
        return (0,) * len(COUNTS)

    def in_queue(self) -> int:
        """Return the messages that wait: none."""
        return 0

    def drain(self, seconds: float) -> None:
        """Nothing is under way."""
