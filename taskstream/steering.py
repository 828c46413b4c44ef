"""What can be asked of a running agent: to collect more, or less, and what it is doing.

Joint: between the doors of ``taskstream.control`` and the parts of a run.
"""

from collections.abc import Callable, Mapping
from typing import Any

from taskstream import clock
from taskstream.collection import NAMES, Collections
from taskstream.config.config import Config
from taskstream.errors import ControlError, TaskstreamError
from taskstream.groups import Groups

__all__ = ["Steering"]

_LONGEST_S = 31_536_000


class Steering:
    """Does what requests say.

    Args:
        config: The effective settings.
        groups: What is switched.
        settle_losses: Called before it is, so that what was lost before counts as before.
        status: Returns what the agent is doing.
        say: Told of what is switched, and of what ends.
        now_ns: CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        config: Config,
        groups: Groups,
        settle_losses: Callable[[], None],
        status: Callable[[], Mapping[str, Any]],
        *,
        say: Callable[[str], None],
        now_ns: Callable[[], int] = clock.boot_ns,
    ) -> None:
        configured = [name for name in NAMES if getattr(config, name)]
        self._collections = Collections(configured, config.lifetime_s)
        self._groups = groups
        self._settle_losses = settle_losses
        self._status = status
        self._say = say
        self._now_ns = now_ns

    def turn(self) -> None:
        """Switch off what is over by now; between two looks at the ring."""
        lines = self._collections.end(self._now_ns())
        if lines:
            self._switch()
        for line in lines:
            self._say(line)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request says (see ``taskstream.control``); return the reply."""
        try:
            return self._do(request)
        except TaskstreamError as error:
            return {"error": str(error)}

    def _do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        do, what = request.get("do"), str(request.get("what"))
        if do == "status":
            return {**self._status(), "collections": self._state()}
        if do == "enable":
            said = self._enable(what, _seconds(request.get("seconds")))
        elif do == "disable":
            said = self._collections.disable(what)
            self._switch()
        else:
            raise ControlError(f"found `{do}`, expected enable, disable or status")
        self._say(said)
        return {"said": said}

    def _enable(self, what: str, seconds: float | None) -> str:
        was_on = what in self._collections.on
        said = self._collections.enable(what, self._now_ns(), seconds)
        try:
            self._switch()
        except TaskstreamError:  # apps_groups.conf is wrong
            if not was_on:
                self._collections.disable(what)
            raise
        return said

    def _switch(self) -> None:
        """Make the groups count what is on, if they do not yet."""
        on = self._collections.on
        apps, cgroups = (name in on for name in NAMES)
        if (apps, cgroups) == (self._groups.choice.apps, self._groups.choice.cgroups):
            return
        self._settle_losses()
        self._groups.choose(apps=apps, cgroups=cgroups)

    def _state(self) -> dict[str, dict[str, Any]]:
        left = {name: self._collections.left_s(name, self._now_ns()) for name in NAMES}
        return {
            name: {"on": name in self._collections.on, "left_s": left_s}
            for name, left_s in left.items()
        }


def _seconds(given: Any) -> float | None:
    """Read a time.

    Raises:
        ControlError: it is none, or too long.
    """
    if given is None:
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = 0
    if not 0 < seconds <= _LONGEST_S:
        raise ControlError(f"found `{given}`, expected more than 0 and up to {_LONGEST_S} seconds")
    return seconds
