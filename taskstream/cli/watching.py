"""What a run tells of its broker, its spool and its topic while it goes on."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from taskstream.cli.saying import Say
from taskstream.config.config import EMBEDDED, OFF, Config
from taskstream.errors import BrokerError
from taskstream.sink.discard import Discard
from taskstream.sink.kafka import KafkaSink

if TYPE_CHECKING:
    from taskstream.sink.spooling import SpoolingSink

__all__ = ["TopicCheck", "Trouble", "earlier_line", "error_lines", "idle_spool_line"]


class TopicCheck:
    """Looks at the topic in a thread of its own, for the loop may not wait for a broker.

    It begins when it is asked first, after the first events: the start does not wait for it.
    """

    def __init__(self, config: Config, say: Say) -> None:
        self._say = say
        self._config = config
        self._lines: list[str] = []
        self._thread: Thread | None = Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        from taskstream.cli.topics import misfits  # takes its time, for which nobody waits here

        with suppress(BrokerError):  # the sink tells of a broker that went away
            self._lines = [misfit.line() for misfit in misfits(self._config)]

    def tell(self) -> None:
        """Say once what does not fit, when the answer is there."""
        if self._thread is None:
            return
        if self._thread.ident is None:
            self._thread.start()
        if self._thread.is_alive():
            return
        self._thread = None
        for line in self._lines:
            self._say(f"topic {self._config.topic}: {line}")


class Trouble:
    """Tells of a broker that went away, and of its return, once each."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told = self._told_of_spool = ""

    def tell(self, sink: KafkaSink | Discard, spooling: "SpoolingSink | None") -> None:
        """Say what is new of the broker, and of the disk before it."""
        if spooling is not None and spooling.spool.trouble != self._told_of_spool:
            self._told_of_spool = spooling.spool.trouble
            self._say(self._told_of_spool or "the spool is written again")
        if sink.trouble == self._told:
            return
        self._told = sink.trouble
        if not sink.trouble:
            self._say("the broker answers again")
        elif spooling is not None:
            self._say(f"{sink.trouble}: events go to the spool, publishing goes on when it is back")
        else:
            self._say(
                f"{sink.trouble}: {sink.in_queue():,} messages wait, those without room are dropped"
            )


def idle_spool_line(config: Config) -> str:
    """Return what is to be said of a spool that is configured and not used; empty for nothing.

    Events that an earlier run left would end with the embedded broker.
    """
    whys = {EMBEDDED: "the embedded broker keeps nothing", OFF: "there is no topic"}
    why, folder = whys.get(config.bootstrap), config.spool_directory
    if why is None or OFF in (folder, config.spool_mode):
        return ""
    from taskstream.spool.segment import waiting_in  # takes its time

    waiting = waiting_in(Path(folder))
    left = f", and {waiting:,} events of earlier runs wait in it" if waiting else ""
    name = "name a broker with --bootstrap or in [kafka] of the configuration"
    return f"spool {folder} is not used{left}: {why}; {name}"


def earlier_line(sink: "SpoolingSink") -> str:
    """Return what became of the events that earlier runs left; its numbers add up."""
    account = sink.earlier
    left = account.in_flight
    return (
        f"earlier runs left {account.received:,} = delivered {account.delivered:,} + rejected "
        f"{account.rejected:,} + dropped {account.dropped:,} + spooled {left:,}"
    )


def error_lines(sink: KafkaSink | Discard) -> Iterator[str]:
    """Yield why events, and messages that are none, were not delivered: what is met most often."""
    for reason, events in sink.errors.most_common(5):
        yield f"{events:,} events: {reason}"
    for reason, count in sink.other_errors.most_common(5):
        yield f"{count:,} message{'s' * (count > 1)} of {reason}"
