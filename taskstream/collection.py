"""What is collected beside the charts of the host, and until when.

Pure: no I/O, no clock. What the configuration has on stays on; what was switched on in a running
agent ends after its lifetime.
"""

from collections.abc import Iterable

from taskstream.errors import ControlError

__all__ = ["NAMES", "Collections"]

NAMES = ("apps", "cgroups")
"""What can be switched, by the names of the options."""


class Collections:
    """Knows what is on.

    Args:
        configured: What the configuration has on.
        lifetime_s: For how long something is on that was switched on without saying for how long.
    """

    def __init__(self, configured: Iterable[str], lifetime_s: float) -> None:
        self._configured = frozenset(configured)
        self._lifetime_s = lifetime_s
        self._until_ns: dict[str, int | None] = dict.fromkeys(self._configured)
        self._seconds: dict[str, float] = {}

    @property
    def on(self) -> frozenset[str]:
        """What is collected now."""
        return frozenset(self._until_ns)

    def enable(self, name: str, now_ns: int, seconds: float | None = None) -> str:
        """Switch one on, or give it another time; return what that means, for people.

        Args:
            name: One of `NAMES`.
            now_ns: CLOCK_BOOTTIME.
            seconds: For how long; None for the lifetime, or for ever if it is configured.

        Raises:
            ControlError: there is no such thing, or it is on for ever already.
        """
        _check(name)
        endless = name in self._until_ns and self._until_ns[name] is None
        if endless and seconds is not None:
            raise ControlError(
                f"{name} is on by the configuration, and does not end: ask without a time, or "
                f"disable {name} first"
            )
        if seconds is None and name in self._configured:
            self._until_ns[name] = None
            return f"{name} is on, as the configuration has it, and does not end"
        self._seconds[name] = self._lifetime_s if seconds is None else seconds
        self._until_ns[name] = now_ns + int(self._seconds[name] * 1e9)
        return f"{name} is on for {self._seconds[name]:g} s"

    def disable(self, name: str) -> str:
        """Switch one off; return what that means, for people.

        Raises:
            ControlError: there is no such thing.
        """
        _check(name)
        was_on = name in self._until_ns
        self._until_ns.pop(name, None)
        if not was_on:
            return f"{name} was off already"
        if name in self._configured:
            return f"{name} is off until it is enabled, or the agent starts again"
        return f"{name} is off"

    def end(self, now_ns: int) -> list[str]:
        """Switch off whose time is over; return a line for each, for people.

        Args:
            now_ns: CLOCK_BOOTTIME.
        """
        over = [n for n, until_ns in self._until_ns.items() if until_ns and until_ns <= now_ns]
        for name in over:
            del self._until_ns[name]
        return [f"{name}: {self._seconds[name]:g} s are over, collection ends" for name in over]

    def left_s(self, name: str, now_ns: int) -> float | None:
        """Return for how long one is on yet; None if it does not end, or is off."""
        until_ns = self._until_ns.get(name)
        return None if until_ns is None else max(0, until_ns - now_ns) / 1e9


def _check(name: str) -> None:
    if name not in NAMES:
        raise ControlError(f"there is no collection `{name}`: there are {', '.join(NAMES)}")
