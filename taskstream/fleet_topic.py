"""The topics of a group that counts together, beside the one with the events.

Pure: no I/O, no clock. Named as Kafka Streams names its own: ``-repartition`` for what members
hand to one another, ``-changelog`` for what they keep in mind.
"""

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

from taskstream.errors import ConfigError
from taskstream.topic import TopicPlan

__all__ = ["ChangelogPlan", "GroupTopics", "PartialsPlan", "check_counts", "home_of"]

SEGMENT_BYTES = 32 << 20
SEGMENT_MS = 600_000


@dataclass(frozen=True, slots=True)
class GroupTopics:
    """Names of a group's topics.

    Attributes:
        events: What agents publish.
        partials: What was counted of one partition of it, keyed by host and charts.
        counting: What is known of each partition of the events: which were read.
        closing: What is known of each partition of the partial sums: which intervals are open.
    """

    events: str
    partials: str
    counting: str
    closing: str

    @classmethod
    def of(cls, group: str, events: str) -> "GroupTopics":
        """Return the topics of a group that reads a topic."""
        return cls(
            events,
            f"{group}-partials-repartition",
            f"{group}-counting-changelog",
            f"{group}-closing-changelog",
        )

    def changelog_of(self, topic: str) -> str:
        """Return where what is known of a topic's partitions is kept."""
        return {self.events: self.counting, self.partials: self.closing}[topic]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialsPlan(TopicPlan):
    """The topic of the partial sums: kept for a week, as events are."""

    otherwise: ClassVar[str] = "all sums of a host but the last go away"
    dated: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangelogPlan(TopicPlan):
    """A topic of which the last message of each key is kept.

    Its segments are short: the one that is being written is never compacted, and whoever takes a
    partition over reads all of it.
    """

    policy: ClassVar[str] = "compact"
    otherwise: ClassVar[str] = "what was read and is open is forgotten, or never thrown away"
    dated: ClassVar[bool] = False

    def config(self, copies: int) -> dict[str, str]:
        """Return the settings with which the topic is made."""
        return {
            "cleanup.policy": self.policy,
            "min.cleanable.dirty.ratio": "0.1",
            "min.insync.replicas": str(self.in_sync_of(copies)),
            "segment.bytes": str(SEGMENT_BYTES),
            "segment.ms": str(SEGMENT_MS),
        }


def check_counts(topics: GroupTopics, counts: dict[str, int]) -> None:
    """Check that what is known of every partition has a place.

    Args:
        topics: The topics.
        counts: How many partitions each has.

    Raises:
        ConfigError: a changelog has fewer partitions than what it is about.
    """
    for topic in (topics.events, topics.partials):
        log, wanted = topics.changelog_of(topic), counts[topic]
        if counts[log] < wanted:
            raise ConfigError(
                f"topic {log} has {counts[log]} partitions, but {topic} has {wanted}: stop the "
                f"group, then kafka-topics.sh --alter --topic {log} --partitions {wanted}"
            )


def home_of(host: str, partitions: int) -> int:
    """Return the partition in which all partial sums of a host come together."""
    return crc32(host.encode()) % partitions
