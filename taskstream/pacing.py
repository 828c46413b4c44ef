"""How long the agent sleeps between two looks at the ring.

Pure: no clock. A look costs about the same for one event as for a hundred, so a host with few
events is looked at less often: the sleep is chosen such that a look finds some number of
events, between two bounds.
"""

__all__ = ["Pacing"]


class Pacing:
    """Adapts the sleep to what was found: down at once, up by a factor of two at most.

    Args:
        flush_ms: The shortest sleep: on a busy host no event waits longer.
        idle_ms: The longest sleep.
        aim: Events that a look should find.
    """

    def __init__(self, flush_ms: int, idle_ms: int, *, aim: int = 64) -> None:
        self._flush_ms = flush_ms
        self._idle_ms = max(flush_ms, idle_ms)
        self._aim = aim
        self._sleep_ms = flush_ms

    def next_ms(self, found: int) -> int:
        """Return the next sleep in ms, after a look that found ``found`` events."""
        wanted_ms = self._sleep_ms * self._aim // max(found, 1)
        patient_ms = min(wanted_ms, self._sleep_ms * 2)
        self._sleep_ms = min(max(patient_ms, self._flush_ms), self._idle_ms)
        return self._sleep_ms
