"""Where batches and intervals go: each module touches one outside thing."""

from typing import Protocol

from taskstream.batch import Batch
from taskstream.report import Report
from taskstream.stats import Account

__all__ = ["Sink"]


class Sink(Protocol):
    """What the pipeline needs of a publisher."""

    @property
    def account(self) -> Account:
        """Fates of the events that it was given."""

    def write(self, batch: Batch) -> None:
        """Publish events, without waiting."""

    def report(self, report: Report) -> None:
        """Publish a report, without waiting."""

    def tick(self) -> None:
        """Go on with what is under way."""

    def settle(self, seconds: float) -> None:
        """Wait for what was published to be acknowledged, for at most ``seconds``."""

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of a CPU that were given up, by ``COUNTS``."""

    def drain(self, seconds: float) -> None:
        """Wait until all is published, for at most ``seconds``."""
