"""How much to read at a time, and for one transaction, so that it is written well within its time.

Pure: the time is passed in. What is written follows from what was read, in a measure that nobody
knows beforehand; so it is learned from how long the last transactions took.
"""

__all__ = ["FIRST_MESSAGES", "LEAST_BYTES", "MOST_BYTES", "TurnSize", "most_messages"]

MOST_EVENTS = 100_000
"""How many are read at a time: an event takes 192 bytes, whatever it took in its message."""

MOST_MESSAGES = 30_000
"""Fewer cost more where hosts are many, since what came of each is counted by itself; more cost
more where they are not."""

FIRST_MESSAGES = 500


def most_messages(messages: int, events: int) -> int:
    """Return how many messages to read next, after so many that held so many events."""
    if not messages:
        return FIRST_MESSAGES
    return min(MOST_MESSAGES, max(1, MOST_EVENTS * messages // max(1, events)))


MOST_BYTES = 64 << 20
"""More than a member reads in a second."""

LEAST_BYTES = 64 << 10


class TurnSize:
    """Bounds what is read for a transaction.

    Args:
        timeout_s: How long a transaction may take.

    Attributes:
        most_bytes: How much of messages to read at most.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.most_bytes = MOST_BYTES
        self._message_bytes = 1_000.0

    def took(self, seconds: float) -> None:
        """Take note of how long a transaction took that came about."""
        if seconds > self._timeout_s / 3:
            self.most_bytes = max(LEAST_BYTES, self.most_bytes // 2)
        elif seconds < self._timeout_s / 10:
            self.most_bytes = min(MOST_BYTES, self.most_bytes * 2)

    def failed(self) -> None:
        """Take note of a transaction that did not come about in its time."""
        self.most_bytes = max(LEAST_BYTES, self.most_bytes // 4)

    def messages(self, messages: int, size: int) -> int:
        """Return how many messages to read next, after so many of so many bytes; at least one."""
        if messages:
            self._message_bytes = max(1, size / messages)
        return max(1, int(self.most_bytes / self._message_bytes))
