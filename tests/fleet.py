"""A group of members over a topic in memory, any of which may die or lose a partition."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taskstream.batch import Origin
from taskstream.changelog import Outgoing
from taskstream.fleet_topic import GroupTopics
from taskstream.grouping.choice import Choice
from taskstream.interval import Interval
from taskstream.share import Share

__all__ = ["Group", "Member"]

TOPICS = GroupTopics.of("fleet", "events")
HOMES = 3


class Member:
    """Reads, and writes in transactions, as ``taskstream.fleet`` does."""

    def __init__(self, group: "Group", **options: Any) -> None:
        self._group = group
        self.told: list[tuple[Origin, Interval]] = []
        self.forgotten: set[Origin] = set()
        self.places: set[tuple[str, int]] = set()
        self._ends: dict[tuple[str, int], int] = {}
        options = group.options | options
        self.share = Share(TOPICS, group.counts, group.choice, self, **options)

    def interval(self, origin: Origin, interval: Interval) -> None:
        self.told.append((origin, interval))

    def forget(self, origin: Origin) -> None:
        self.forgotten.add(origin)

    def gain(self, place: tuple[str, int]) -> None:
        self.places.add(place)
        self._ends[place] = self._group.committed[place]
        log = TOPICS.changelog_of(place[0]), place[1]
        self.share.gain(*place, self._group.kept[log])

    def lose(self, place: tuple[str, int]) -> None:
        """Lose a partition without having committed anything of it."""
        self.share.lose(*place)
        self.places.discard(place)

    def read(self, most: int, now_ms: int, *, waits: bool = False) -> None:
        """Read so many messages of each partition; none of those that are ahead, if it waits."""
        held = {(TOPICS.events, number) for number in self.share.ahead if waits}
        for place in sorted(self.places - held):
            at = self._ends[place]
            values = self._group.messages[place][at : at + most]
            self.share.take(*place, values, now_ms)
            self._ends[place] = at + len(values)

    def commit(self, now_ms: int, *, progress: bool = True) -> None:
        """Write what there is to say, with the offsets, all or nothing."""
        messages = self.share.turn(self._reached(now_ms), progress=progress)
        self._group.write(messages, {place: self._ends[place] for place in self.places})
        self.share.written()
        self._group.told += self.told
        self.told.clear()

    def abort(self, now_ms: int) -> None:
        """Do all that is done for a commit, which does not come about."""
        self.share.turn(self._reached(now_ms), progress=True)
        self.told.clear()
        for place in self.places:
            self.gain(place)

    def _reached(self, now_ms: int) -> dict[int, int]:
        """Return up to when the partitions of the events were read that have no more."""
        mine = [place for place in self.places if place[0] == TOPICS.events]
        return {place[1]: now_ms for place in mine if self._is_at_end(place)}

    def _is_at_end(self, place: tuple[str, int]) -> bool:
        return self._ends[place] == len(self._group.messages[place])

    @property
    def at_end(self) -> bool:
        return all(map(self._is_at_end, self.places))


class Group:
    """A topic of events, and what a group of members makes of it."""

    def __init__(
        self, events: Mapping[int, Sequence[bytes]], choice: Choice, **options: Any
    ) -> None:
        self.choice, self.options = choice, {"late_s": 10, **options}
        self.counts = {TOPICS.events: max(events) + 1, TOPICS.partials: HOMES}
        self.messages: dict[tuple[str, int], list[bytes]] = {
            (topic, partition): []
            for topic, count in self.counts.items()
            for partition in range(count)
        }
        for partition, values in events.items():
            self.messages[TOPICS.events, partition] = list(values)
        self.committed: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.kept: defaultdict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)
        self.told: list[tuple[Origin, Interval]] = []
        self.members: list[Member] = []
        self.ever: list[Member] = []

    def write(self, messages: list[Outgoing], ends: Mapping[tuple[str, int], int]) -> None:
        for message in messages:
            assert message.partition is not None
            place = message.topic, message.partition
            if message.topic == TOPICS.partials:
                assert message.value is not None
                self.messages[place].append(message.value)
            elif message.value is None:
                self.kept[place].pop(message.key, None)
            else:
                self.kept[place][message.key] = message.value
        self.committed.update(ends)

    def join(self, **options: Any) -> Member:
        """Add a member, which has nothing yet."""
        self.members.append(Member(self, **options))
        self.ever.append(self.members[-1])
        return self.members[-1]

    def kill(self, member: Member) -> None:
        """Take a member away amidst whatever it did; the others share its partitions."""
        self.members.remove(member)

    def share_out(self, random: np.random.Generator) -> None:
        """Give each partition to some member; what moves is committed before, or not."""
        for place in self.messages:
            owner = self.members[random.integers(len(self.members))]
            for member in self.members:
                if place in member.places and member is not owner:
                    member.lose(place)
            if place not in owner.places:
                owner.gain(place)
