"""Two sinks as one: the first is the one that counts, the second stands beside it.

Rim by what its sinks touch.
"""

from taskstream.batch import Batch
from taskstream.report import Report
from taskstream.sink import Sink
from taskstream.sink.capture import CaptureSink
from taskstream.stats import Account

__all__ = ["TopicAndCapture"]


class TopicAndCapture:
    """Publishes to a topic and writes a capture of the same stream.

    Args:
        topic: Its account is the account of both; the loop waits for it.
        capture: Keeps books of its own.
    """

    def __init__(self, topic: Sink, capture: CaptureSink) -> None:
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
