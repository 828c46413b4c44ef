"""Two sinks as one: the first is the one that counts, the second stands beside it.

Rim by what its sinks touch.
"""

from typing import Protocol

from taskstream.batch import Batch
from taskstream.report import Report
from taskstream.sink.capture import CaptureSink
from taskstream.stats import Account


class Publisher(Protocol):
    """A topic, with a spool before it or without one."""

    @property
    def account(self) -> Account:
        """Fates of the events that it was given."""

    def write(self, batch: Batch) -> None:
        """Publish events."""

    def report(self, report: Report) -> None:
        """Publish a report."""

    def tick(self) -> None:
        """Go on with what is under way."""

    def settle(self, seconds: float) -> None:
        """Wait for acknowledgements."""

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of a CPU that were given up."""

    def drain(self, seconds: float) -> None:
        """Wait until all is published."""


__all__ = ["TopicAndCapture"]


class TopicAndCapture:
    """Publishes to a topic and writes a capture of the same stream.

    Args:
        topic: Its account is the account of both; the loop waits for it.
        capture: Keeps books of its own.
    """

    def __init__(self, topic: Publisher, capture: CaptureSink) -> None:
        self._topic, self._capture = topic, capture

    @property
    def account(self) -> Account:
        """Fates of the events in the topic."""
        return self._topic.account

    def write(self, batch: Batch) -> None:
        """Hand a batch to both."""
        self._topic.write(batch)
        self._capture.write(batch)

    def report(self, report: Report) -> None:
        """Hand a report to both; the capture's tells what the capture dropped."""
        self._topic.report(report)
        self._capture.report(report)

    def tick(self) -> None:
        """Go on with what is under way in both."""
        self._topic.tick()
        self._capture.tick()

    def settle(self, seconds: float) -> None:
        """Wait for acknowledgements of the topic."""
        self._topic.settle(seconds)

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of a CPU that the topic dropped, by `COUNTS`."""
        return self._topic.dropped(cpu)

    def drain(self, seconds: float) -> None:
        """Write what the capture gathered, then wait for the topic."""
        self._capture.drain(seconds)
        self._topic.drain(seconds)
