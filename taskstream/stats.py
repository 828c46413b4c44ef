"""The books: every event has exactly one fate at every hop, and the sums say so.

A noun: no I/O, no clock. The law at each hop is received = delivered + rejected + dropped +
in flight; on the way from the kernel it is happened = received + lost + missed, where
``missed`` is known by program only.
"""

from dataclasses import dataclass

__all__ = ["Account", "RunTotals"]


@dataclass(slots=True)
class Account:
    """Fates of the events that a sink was given.

    Attributes:
        received: Given to the sink.
        delivered: Acknowledged by whom they were for.
        rejected: Refused by whom they were for, or not acknowledged in time.
        dropped: Given up here, for want of room.
        spooled: Left on the disk at the end of the run, for the next one to publish.
        unpublished: For no topic: charts, and a capture perhaps, are made of them.
    """

    received: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    spooled: int = 0
    unpublished: int = 0

    @property
    def in_flight(self) -> int:
        """Events whose fate is open."""
        known = self.delivered + self.rejected + self.dropped + self.spooled
        return self.received - known - self.unpublished

    def sum(self, *always: str, delivered: str = "delivered") -> str:
        """Return what was received as the sum of its fates, in words.

        Args:
            always: Fates that are named even if no event has them; `delivered` always is, or
                `unpublished` in its place.
            delivered: The word for what was delivered: a file is written.
        """
        fates = {
            delivered: self.delivered,
            "rejected": self.rejected,
            "dropped": self.dropped,
            "spooled": self.spooled,
            "unacknowledged": self.in_flight,
        }
        named = {delivered, *always}
        if self.unpublished:
            fates = {"unpublished": self.unpublished, **fates}
            named.remove(delivered)
        parts = [f"{fate} {number:,}" for fate, number in fates.items() if number or fate in named]
        return f"{self.received:,} = {' + '.join(parts)}"


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What a finished run amounts to.

    Attributes:
        counted: Events that the kernel side counted.
        read: Of those, events that came through the ring.
        lost: Of those, events for which the ring had no room.
        running: Tasks of the snapshot, published beside the events.
        missed: Program runs that the kernel skipped; events that nobody counted.
        account: What became of the events that were read, and of the snapshot.
    """

    counted: int
    read: int
    lost: int
    running: int
    missed: int
    account: Account

    @property
    def unread(self) -> int:
        """Events that are in the ring still."""
        return self.counted - self.read - self.lost

    @property
    def complete(self) -> bool:
        """Tell whether every event reached the topic, if it was for one, or is in the spool."""
        safe = self.account.delivered + self.account.spooled + self.account.unpublished
        return not self.missed and self.counted + self.running == safe

    def line(self, delivered: str = "delivered") -> str:
        """Return the closing line; its numbers add up.

        Args:
            delivered: The word for what was delivered: a file is written.
        """
        happened = f"counted {self.counted:,} = read {self.read:,} + lost {self.lost:,}"
        happened += f" + unread {self.unread:,}" if self.unread else ""
        given = f"read {self.read:,} + running tasks {self.running:,}"
        published = f"{given} = received {self.account.sum('dropped', delivered=delivered)}"
        missed = f"; skipped by the kernel, uncounted: {self.missed:,}" if self.missed else ""
        return f"{happened}; {published}{missed}"
