"""How long the agent sleeps between two looks at the ring.

Pure: no clock. While events come it wakes every flush interval, so that none waits longer;
on a quiet host it slows down step by step, because a wake-up costs more than there is to read.
"""

__all__ = ["Pacing"]


class Pacing:
    """Doubles the sleep after every look that found nothing, up to a bound.

    Args:
        flush_ms: Sleep while events come.
        idle_ms: The longest sleep.
    """

    def __init__(self, flush_ms: int, idle_ms: int) -> None:
        self._flush_ms = flush_ms
        self._idle_ms = max(flush_ms, idle_ms)
        self._sleep_ms = flush_ms

    def next_ms(self, found: int) -> int:
        """Return the next sleep in ms, after a look that found ``found`` events."""
        self._sleep_ms = self._flush_ms if found else min(self._sleep_ms * 2, self._idle_ms)
        return self._sleep_ms
