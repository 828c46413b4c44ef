"""The main job in a thread of its own, beside a live screen."""

from threading import Event, Thread

from taskstream.cli.run import Stop, record
from taskstream.config import Config
from taskstream.feed import IntervalFeed

__all__ = ["Recording"]


class Recording:
    """A run that publishes nothing, with a feed for whoever shows it.

    The screen needs the first thread, where signals arrive; the pipeline has its own, so that
    the ring is read whatever the screen does.

    Args:
        config: The effective settings.

    Attributes:
        feed: Its intervals.
        lines: What it said, the closing line included.
        code: Its exit code, when it is over.
    """

    def __init__(self, config: Config) -> None:
        self.lines: list[str] = []
        self.code = 0
        self._failure: Exception | None = None
        self._stop = Stop()
        self._ready = Event()
        title = f"{config.host_name()}, every {config.update_every_s} s"
        self.feed = IntervalFeed(title, config.host_name(), config.chart_semantics)
        self._thread = Thread(target=self._record, args=(config,), name="pipeline")
        self._thread.start()

    def _record(self, config: Config) -> None:
        try:
            self.code = record(config, self._stop, self._attached, say=self._say)
        except Exception as error:
            self._failure = error
        finally:
            self.feed.close()
            self._ready.set()

    def _attached(self, _config: Config) -> IntervalFeed:
        self._ready.set()
        return self.feed

    def _say(self, text: str) -> None:
        """Show notes of the start on the screen; keep all for the end."""
        if not self._ready.is_set():
            self.feed.note(text)
        self.lines.append(text)

    @property
    def over(self) -> bool:
        """Tell whether it ended, by itself too."""
        return self._ready.is_set() and not self._thread.is_alive()

    def wait(self) -> None:
        """Wait for the first sign of life, or of failure."""
        self._ready.wait()

    def finish(self) -> None:
        """Stop, and raise what went wrong."""
        self._stop.asked = True
        self._thread.join()
        if self._failure is not None:
            raise self._failure
