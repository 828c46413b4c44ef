"""How a configuration becomes a spool, and what is said of it at the end."""

from pathlib import Path

from taskstream import clock
from taskstream.batch import Origin
from taskstream.capture.rotation import own_about
from taskstream.config.config import Config
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.spooling import SpoolingSink
from taskstream.spool.spool import Spool, SpoolBounds

__all__ = ["earlier_line", "open_spool"]


def open_spool(config: Config, topic: KafkaSink, origin: Origin, *, always: bool) -> SpoolingSink:
    """Put a spool before a topic.

    Raises:
        ConfigError: the directory cannot be used, or another agent uses it.
    """
    bounds = SpoolBounds(total_bytes=config.spool_bytes or 1 << 60, age_s=config.spool_age_s)
    about = own_about(config.update_every_s * 10**9, failures_watched=config.load_mode == "return")
    return SpoolingSink(
        topic,
        lambda on_drop, on_damage: Spool(
            Path(config.spool_directory),
            origin,
            about,
            bounds,
            clocks=clock.read_pair,
            on_drop=on_drop,
            on_damage=on_damage,
        ),
        always=always,
        rate=config.spool_rate,
    )


def earlier_line(sink: SpoolingSink) -> str:
    """Return what became of the events that earlier runs left; its numbers add up."""
    account = sink.earlier
    left = account.in_flight
    return (
        f"earlier runs left {account.received:,} = delivered {account.delivered:,} + rejected "
        f"{account.rejected:,} + dropped {account.dropped:,} + spooled {left:,}"
    )
