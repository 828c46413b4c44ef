"""The topics that a group works with: made where they are missing, and checked before it begins.

Joint. ``docs/fleet.md`` lists them, and the rights that they need.
"""

import time
from collections.abc import Callable

from taskstream.errors import BrokerError, ConfigError
from taskstream.fleet import FleetOptions
from taskstream.fleet_topic import ChangelogPlan, GroupTopics, PartialsPlan, check_counts
from taskstream.topic import TopicPlan, TopicState, judge
from taskstream.topic_admin import TopicAdmin

__all__ = ["make_topics"]

SEEN_S = 10
"""How long brokers may take to know of a topic that was made."""


def make_topics(
    options: FleetOptions, output: str | None, say: Callable[[str], None] = lambda _text: None
) -> GroupTopics:
    """Make the topics of the group that are not there yet.

    Args:
        options: How the members work.
        output: Topic of the rates; None if nobody wants one.
        say: Told what of a topic that is there does not fit, and can be worked with.

    Raises:
        BrokerError: no broker answers, there are no events, or a topic cannot be made.
        ConfigError: a topic that is there does not fit.
    """
    topics = GroupTopics.of(options.group, options.topic)
    admin = TopicAdmin(options.bootstrap, options.settings)
    events = admin.describe(options.topic)
    if events is None:
        raise BrokerError(f"topic {options.topic} does not exist on {options.bootstrap}")
    _check_rights(events, "READ")
    count = len(events.copies)
    kinds: dict[str, type[TopicPlan]] = {
        topics.partials: PartialsPlan,
        topics.counting: ChangelogPlan,
        topics.closing: ChangelogPlan,
    }
    counts = {topics.events: count}
    for topic, kind in kinds.items():
        wanted = counts[topics.partials] if topic == topics.closing else count
        state = _ensure(admin, topic, kind(partitions=wanted))
        _check_rights(state, "READ", "WRITE")
        counts[topic] = len(state.copies)
        for misfit in judge(kind(partitions=counts[topic]), state):
            if misfit.what == "cleanup.policy":
                raise ConfigError(f"topic {topic}: {misfit.line()}")
            say(f"topic {topic}: {misfit.line()}")
    check_counts(topics, counts)
    if output is not None:
        state = _ensure(admin, output, TopicPlan(partitions=count))
        _check_rights(state, "WRITE")
        for misfit in judge(TopicPlan(partitions=1), state):
            say(f"topic {output}: {misfit.line()}")
    return topics


def _check_rights(state: TopicState, *needed: str) -> None:
    """Check that a topic may be read, or written to."""
    lacking = [
        right for right in needed if state.allowed is not None and right not in state.allowed
    ]
    if lacking:
        raise BrokerError(
            f"topic {state.name}: no right to {' and '.join(lacking)}: ask for it; docs/fleet.md "
            "lists what a group needs"
        )


def _ensure(admin: TopicAdmin, topic: str, plan: TopicPlan) -> TopicState:
    """Make a topic if it is not there; return it as it is."""
    end = time.monotonic() + SEEN_S
    while (state := admin.describe(topic)) is None:
        if time.monotonic() > end:
            raise BrokerError(f"topic {topic} was made, and is not there after {SEEN_S} s")
        if admin.create(topic, plan):
            continue
        time.sleep(0.2)  # made just now, and not known to every broker yet
    return state
