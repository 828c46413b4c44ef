"""One row of the table: what was measured, how often, and what was hoped for.

A noun: no I/O, no clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Effort", "Figure", "figure"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a measurement may take.

    Attributes:
        quick: A smoke check: numbers come out, their spread is not to be believed.
    """

    quick: bool

    def runs(self, full: int) -> int:
        """Return how often to measure."""
        return min(full, 2 if full > 4 else 1) if self.quick else full

    def seconds(self, full: float) -> float:
        """Return how long to load."""
        return min(full, 1.0) if self.quick else full

    def calls(self, full: int) -> int:
        """Return how many calls a workload makes."""
        return full // 4 if self.quick else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured quantity.

    Attributes:
        theme: The name that ``--only`` takes.
        what: What was measured.
        unit: Of the values.
        values: One per run, at least one.
        aim: The value that it should not exceed; None where there is no aim.
        note: What else was seen on the way.
    """

    theme: str
    what: str
    unit: str
    values: tuple[float, ...]
    aim: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the values."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Tell whether the median keeps the aim; None without an aim."""
        return None if self.aim is None else self.median <= self.aim

    def to_map(self) -> dict[str, Any]:
        """Return it as JSON can take it."""
        return {
            "theme": self.theme,
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "runs": len(self.values),
            "aim": self.aim,
            "met": self.met,
            "note": self.note,
        }


def figure(
    theme: str,
    what: str,
    unit: str,
    values: Iterable[float],
    *,
    aim: float | None = None,
    note: str = "",
) -> Figure:
    """Make a figure of measured values."""
    return Figure(theme=theme, what=what, unit=unit, values=tuple(values), aim=aim, note=note)
