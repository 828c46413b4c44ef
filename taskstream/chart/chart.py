"""What a chart is: its dimensions, their formulas, and of what there is one each.

Each dimension has two formulas: what the document says it means, and what Netdata's own code
(1.44) computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DOCUMENTED", "NETDATA", "SCOPES", "Chart", "Dimension", "Formula", "Scope"]

DOCUMENTED, NETDATA = "documented", "netdata"
"""The two kinds of formulas, as option ``chart semantics`` names them."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A sum of counts.

    Attributes:
        terms: How many times each count of `COLUMNS` is taken.
        per_second: Whether it is divided by the length of the interval.
    """

    terms: Mapping[str, int]
    per_second: bool = True

    def of(self, counts: Mapping[str, int]) -> int:
        """Return the sum, undivided."""
        sum_ = 0
        for name, times in self.terms.items():  # a generator costs as much again
            sum_ += times * counts[name]
        return sum_

    @property
    def text(self) -> str:
        """What it computes, for people."""
        signs = {1: "+", -1: "−"}  # noqa: RUF001  (a minus sign)
        parts = "".join(f" {signs[times]} `{name}`" for name, times in self.terms.items())
        return parts.removeprefix(" + ").strip() + (" per second" if self.per_second else "")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One line of a chart.

    Attributes:
        name: As documented; empty where there is one for each group.
        documented: What the document says.
        netdata: What Netdata's code computes.
    """

    name: str
    documented: Formula
    netdata: Formula

    def formula(self, semantics: str) -> Formula:
        """Return the formula of ``documented`` or ``netdata``."""
        return self.netdata if semantics == NETDATA else self.documented


@dataclass(frozen=True, slots=True)
class Scope:
    """Of what there is a chart, or a dimension, each.

    Attributes:
        groups: Dimension of `Interval.groups`; empty for the host as a whole.
        label: Label that names the group of a chart; empty where the groups are dimensions.
    """

    groups: str = ""
    label: str = ""


SCOPES = {
    "system": Scope(),
    "app": Scope("app", "app_group"),
    "cgroup": Scope("cgroup", "cgroup_name"),
    "services": Scope("service"),
    "command": Scope("command", "command"),
    "user": Scope("user", "uid"),
    "errno": Scope("errno"),
    "status": Scope("status"),
    "signal": Scope("signal"),
    "lifetime": Scope("lifetime"),
    "state": Scope(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        context: Its name, ``scope.what`` where it is documented.
        scope: Key of `SCOPES`.
        title: As documented.
        unit: As documented.
        family: Netdata's menu.
        priority: Netdata's order.
        kind: line, stacked or heatmap.
        dimensions: One for all groups where each group is a dimension.
        failures: It is drawn only where failed calls are watched (load mode ``return``).
        documented: It is a chart of the integration document.
    """

    context: str
    scope: str
    title: str
    unit: str
    family: str
    priority: int
    kind: str
    dimensions: tuple[Dimension, ...]
    failures: bool = False
    documented: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(dimension.name for dimension in self.dimensions)
