"""By what events are counted. A noun: no I/O, no clock."""

from dataclasses import dataclass

__all__ = ["Choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is counted beside the outcomes, which always are.

    Attributes:
        apps: By app group.
        cgroups: By cgroup, and by service.
        commands: By name of the task.
        users: By real user id.
        limit: How many groups of each dimension are charted.
    """

    apps: bool = False
    cgroups: bool = False
    commands: bool = False
    users: bool = False
    limit: int = 1000
