"""What asks a verb to come to its end: signals, and an output that nobody takes any more."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from taskstream.interval import Interval

__all__ = ["Shown", "Stop", "stop_signals"]


class Stop:
    """Set by a signal."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.asked = True


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM as the wish to stop in good order."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Shown:
    """Shows intervals; when they cannot be shown any more, a run ends in good order.

    Args:
        show: Shows an interval.
        stop: Is asked to stop, when that failed.
    """

    def __init__(self, show: Callable[[Interval], None], stop: Stop) -> None:
        self._show, self._stop = show, stop
        self._failure: OSError | None = None

    def __call__(self, interval: Interval) -> None:
        """Show an interval."""
        if self._failure is None:
            try:
                self._show(interval)
            except OSError as error:
                self._failure, self._stop.asked = error, True

    def end(self) -> None:
        """Raise what went wrong, now that the books are closed."""
        if self._failure is not None:
            raise self._failure
