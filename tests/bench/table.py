"""Figures as text: a Markdown table with its machine and its command. Pure."""

from collections.abc import Iterable, Mapping

from tests.bench.figure import Figure

__all__ = ["document", "number", "row"]

_HEAD = ("what", "unit", "median [min..max]", "runs", "aim", "met", "seen")
_VERDICTS = {True: "yes", False: "**no**", None: ""}


def number(value: float) -> str:
    """Format a value with three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def row(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure."""
    low, high = min(figure.values), max(figure.values)
    spread = f" [{number(low)}..{number(high)}]" if len(figure.values) > 1 else ""
    aim = "" if figure.aim is None else f"<= {figure.aim:,g}"
    return (
        figure.what,
        figure.unit,
        number(figure.median) + spread,
        str(len(figure.values)),
        aim,
        _VERDICTS[figure.met],
        figure.note,
    )


def _table(figures: Iterable[Figure]) -> str:
    rows = [_HEAD, *map(row, figures)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(_HEAD))]
    lines = [_line(cells, widths) for cells in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"


def document(figures: Iterable[Figure], machine: Mapping[str, str], command: str) -> str:
    """Return the whole page."""
    about = "\n".join(f"* {name}: {value}" for name, value in machine.items())
    return (
        "# What the agent costs\n\n"
        f"Written by `{command}`.\n"
        "How a row is measured stands at the top of the module of its theme in `tests/bench`.\n"
        "A value is the median of the runs, with the lowest and the highest.\n\n"
        f"{about}\n\n{_table(figures)}\n"
    )
