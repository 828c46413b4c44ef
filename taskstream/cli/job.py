"""A job beside a live screen, in a thread of its own: a run, or the replay of captures."""

from collections.abc import Callable, Sequence
from threading import Event, Thread

from taskstream.capture.reader import CaptureFile
from taskstream.cli import LOSSES
from taskstream.cli.drawing import group_target
from taskstream.cli.record import record
from taskstream.cli.stopping import Stop
from taskstream.config.config import Config
from taskstream.errors import CaptureError
from taskstream.feed import IntervalFeed
from taskstream.replay import Replay
from taskstream.selection import Selection

__all__ = ["Job", "recording", "replaying"]


class Job:
    """Fills a feed for whoever shows it.

    The screen needs the first thread, where signals arrive; the job has its own, so that the
    ring is read whatever the screen does.

    Args:
        feed: What it fills.
        work: Does it, and returns an exit code; it calls `begin` when there is something to show.

    Attributes:
        stop: Tells it when to end.
        lines: What it said, the closing line included.
        code: Its exit code, when it is over.
    """

    def __init__(self, feed: IntervalFeed, work: "Callable[[Job], int]") -> None:
        self.feed = feed
        self.stop = Stop()
        self.lines: list[str] = []
        self.code = 0
        self._failure: Exception | None = None
        self._begun = Event()
        self._thread = Thread(target=self._do, args=(work,), name="pipeline")
        self._thread.start()

    def _do(self, work: "Callable[[Job], int]") -> None:
        try:
            self.code = work(self)
        except Exception as error:
            self._failure = error
        finally:
            self.feed.close()
            self._begun.set()

    def begin(self) -> IntervalFeed:
        """Let the screen open."""
        self._begun.set()
        return self.feed

    def say(self, text: str) -> None:
        """Show notes of the start on the screen; keep all for the end."""
        if not self._begun.is_set():
            self.feed.note(text)
        self.lines.append(text)

    def wait(self) -> None:
        """Wait for the first sign of life, or of failure."""
        self._begun.wait()

    @property
    def failed(self) -> bool:
        """Tell whether it ended by an error."""
        return self._failure is not None

    @property
    def over(self) -> bool:
        """Tell whether it ended, by itself too."""
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Stop it, and raise what went wrong."""
        self.stop.asked = True
        self._thread.join()
        if self._failure is not None:
            raise self._failure


def recording(config: Config) -> Job:
    """Begin a run that publishes nothing."""
    title = f"{config.host_name()}, every {config.update_every_s} s"
    feed = IntervalFeed(title, config.host_name(), config.chart_semantics)
    return Job(feed, lambda job: record(config, job.stop, lambda _: job.begin(), say=job.say))


def replaying(files: Sequence[CaptureFile], speed: float) -> Job:
    """Begin to replay captures of one host.

    Args:
        files: Captures, one after another.
        speed: How many times as fast as it happened; 0 for as fast as it goes.

    Raises:
        CaptureError: the header of the first is damaged.
        ConfigError: apps_groups.conf cannot be used.
    """
    header = files[0].header
    if header is None:
        raise CaptureError(f"{files[0].name}: the header is damaged: it does not say of which host")
    everything = Config(apps=True, cgroups=True, chart_commands=True, chart_users=True)
    host = header.origin.host
    feed = IntervalFeed(f"{files[0].name} of {host}", host, live=False)
    target = group_target(everything, None, feed)

    def work(job: Job) -> int:
        job.begin()
        replay = Replay(files, target, selection=Selection(), speed=speed)
        totals = replay.run(lambda: job.stop.asked)
        job.say(totals.line())
        return 0 if totals.complete else LOSSES

    return Job(feed, work)
