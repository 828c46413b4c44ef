"""What the topic of the events should be like, and what a topic that is there lacks.

Pure: no I/O, no clock. Names of settings are Kafka's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Misfit", "TopicPlan", "TopicState", "judge"]

MOST_COPIES = 3
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NO_BOUND = (1 << 63) - 1
"""What Kafka has for a bound of a timestamp that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """A topic as it should be; 0 is for what the size of the cluster decides.

    Attributes:
        partitions: How many at least.
        copies: Replicas of each; 0 for one per broker, up to three.
        in_sync: min.insync.replicas; 0 for one less than the copies, at least one.
        retention_ms: How long events are kept; -1 for no bound.
        retention_bytes: How much of a partition is kept; -1 for no bound.
        compression: compression.type; ``producer`` keeps what the agent chose.
        message_bytes: Length of the longest message that an agent sends.
        policy: cleanup.policy.
        otherwise: What any other comes to.
        dated: Messages have the time of what they tell, which may be far from the broker's.
    """

    policy: ClassVar[str] = "delete"
    otherwise: ClassVar[str] = "all events of a process but the last go away"
    dated: ClassVar[bool] = True

    partitions: int = 4
    copies: int = 0
    in_sync: int = 0
    retention_ms: int = 7 * DAY_MS
    retention_bytes: int = -1
    compression: str = "producer"
    message_bytes: int = 1_000_000

    def copies_on(self, brokers: int) -> int:
        """Return the copies on a cluster of so many brokers."""
        return self.copies or min(MOST_COPIES, brokers)

    def in_sync_of(self, copies: int) -> int:
        """Return min.insync.replicas of a topic of so many copies."""
        return self.in_sync or max(1, copies - 1)

    def config(self, copies: int) -> dict[str, str]:
        """Return the settings with which the topic is made."""
        return {
            "cleanup.policy": self.policy,
            "compression.type": self.compression,
            "message.timestamp.type": "CreateTime",
            "min.insync.replicas": str(self.in_sync_of(copies)),
            "retention.bytes": str(self.retention_bytes),
            "retention.ms": str(self.retention_ms),
        }

    def newer_config(self) -> dict[str, str]:
        """Return settings that a topic is made with besides, where the broker knows them.

        Kafka has them since 3.6 (KIP-937), and since 4.0 (KIP-1030) a bound of an hour by default.
        """
        return {"message.timestamp.after.max.ms": str(NO_BOUND)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """A topic as it is.

    Attributes:
        name: Its name.
        brokers: Brokers of the cluster.
        copies: Replicas of each partition, in order of the partitions.
        in_sync: Of those, the ones that are in step at present.
        config: Settings; none where they may not be read.
        allowed: What we may do with it, in Kafka's words, such as ``WRITE``; None if it is not
            known.
    """

    name: str
    brokers: int
    copies: tuple[int, ...]
    in_sync: tuple[int, ...]
    config: Mapping[str, str]
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """What of a topic is not as it should be.

    Attributes:
        what: The property.
        found: Its value.
        wanted: What it should be.
        effect: What will happen.
        repair: What to do.
    """

    what: str
    found: str
    wanted: str
    effect: str
    repair: str

    def line(self) -> str:
        """Return it as one line."""
        said = f"{self.what} is {self.found}, not {self.wanted}: {self.effect}"
        return f"{said} (repair: {self.repair})"


def judge(plan: TopicPlan, state: TopicState) -> list[Misfit]:
    """Compare a topic with the plan; return what does not fit."""
    return [*_layout(plan, state), *_settings(plan, state)]


def _layout(plan: TopicPlan, state: TopicState) -> Iterator[Misfit]:
    if len(state.copies) < plan.partitions:
        yield Misfit(
            "partitions",
            str(len(state.copies)),
            f"{plan.partitions} or more",
            "fewer consumers can share the work",
            f"kafka-topics.sh --alter --topic {state.name} --partitions {plan.partitions}",
        )
    copies, wanted = min(state.copies), plan.copies_on(state.brokers)
    if copies < wanted:
        yield Misfit(
            "replication",
            str(copies),
            str(wanted),
            "acknowledged events can be lost with a broker",
            "kafka-reassign-partitions.sh",
        )
    away = sum(now < all_ for now, all_ in zip(state.in_sync, state.copies, strict=True))
    if away:
        yield Misfit(
            "replicas in step",
            f"missing in {away} of {len(state.copies)} partitions",
            "all",
            "a broker is away or behind",
            "look at the brokers",
        )


def _settings(plan: TopicPlan, state: TopicState) -> Iterator[Misfit]:
    config = state.config
    copies = min(state.copies)

    def misfit(name: str, wanted: str, effect: str) -> Misfit:
        repair = (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {state.name} "
            f"--add-config {name}={wanted}"
        )
        return Misfit(name, config[name], wanted, effect, repair)

    in_sync = int(config.get("min.insync.replicas", "1"))
    if in_sync > copies:
        # Since 4.0 no more than the copies are asked for (KIP-966).
        effect = "Kafka before 4.0 would acknowledge no event"
        yield misfit("min.insync.replicas", str(plan.in_sync_of(copies)), effect)
    elif "min.insync.replicas" in config and in_sync < (wanted_n := plan.in_sync_of(copies)):
        effect = "acknowledged events can be lost with a broker"
        yield misfit("min.insync.replicas", str(wanted_n), effect)
    if config.get("cleanup.policy", plan.policy) != plan.policy:
        yield misfit("cleanup.policy", plan.policy, plan.otherwise)
    if int(config.get("max.message.bytes", plan.message_bytes)) < plan.message_bytes:
        yield misfit("max.message.bytes", str(plan.message_bytes), "long messages will be rejected")
    if not plan.dated:
        pass
    elif config.get("message.timestamp.type", "CreateTime") != "CreateTime":
        effect = "the time of the event is not that of the record"
        yield misfit("message.timestamp.type", "CreateTime", effect)
    else:
        for name, least, effect in _stamp_bounds(plan):
            if (bound := int(config.get(name, least))) < least:
                yield misfit(name, str(least), effect.format(hours=f"{bound / HOUR_MS:g}"))
    if config.get("compression.type", plan.compression) != plan.compression:
        yield misfit("compression.type", plan.compression, "the broker compresses anew")
    for name, least in (
        ("retention.ms", plan.retention_ms),
        ("retention.bytes", plan.retention_bytes),
    ):
        kept = int(config.get(name, least))
        if plan.policy == "delete" and kept != -1 and (least == -1 or kept < least):
            wanted = "-1" if least == -1 else str(least)
            yield misfit(name, wanted, "events are gone sooner than planned")


def _stamp_bounds(plan: TopicPlan) -> Iterator[tuple[str, int, str]]:
    """Return how far the time of an event may be from the broker's at least, and what for."""
    ahead = "events of a host whose clock is {hours} h ahead will be rejected"
    yield "message.timestamp.after.max.ms", NO_BOUND, ahead
    old = "events {hours} h old, of a spool or a replay, will be rejected"
    kept = NO_BOUND if plan.retention_ms == -1 else plan.retention_ms
    yield "message.timestamp.before.max.ms", kept, old
    far = "events dated {hours} h off the broker's clock will be rejected"
    yield "message.timestamp.difference.max.ms", NO_BOUND, far  # before Kafka 4.0
