"""The results of the guests as a table in docs/kernels.md.

The results of the last run of everything are kept in results.json; the table is made from them,
so that a test can tell whether the document is current.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.check import Verdict

__all__ = ["DOCUMENT", "Result", "document", "kept", "table", "write"]

DOCUMENT = Path(__file__).parents[3] / "docs/kernels.md"
_RESULTS = Path(__file__).with_name("results.json")
_PLACE = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- end of results -->)", re.S)


@dataclass(frozen=True)
class Result:
    """How a row went on a kernel.

    Attributes:
        kernel: Name of the kernel.
        release: Of the kernel that was booted; empty if none was.
        row: Name of the row.
        verdict: What came out.
    """

    kernel: str
    release: str
    row: str
    verdict: Verdict

    def cell(self) -> str:
        """Return what the table says."""
        if self.verdict.outcome != "missed":
            return self.verdict.outcome
        return f"exact, {sum(self.verdict.missed.values())} missed"


def table(results: Sequence[Result]) -> str:
    """Return the results as Markdown: a row a mode, a column a kernel; below, what was said."""
    kernels = {result.kernel: result.release for result in results}
    cells = {(result.row, result.kernel): result for result in results}
    texts: dict[str, int] = {}

    def cell(row: str, kernel: str) -> str:
        result = cells.get((row, kernel))
        if result is None:
            return "not run"
        said = list(result.verdict.notes)
        if result.verdict.outcome == "refused":
            said = [_beginning(result.verdict.message)]
        numbers = [str(texts.setdefault(text, len(texts) + 1)) for text in said]
        return f"{result.cell()} ({', '.join(numbers)})" if numbers else result.cell()

    lines = [["", *kernels], ["---"] * (len(kernels) + 1), ["release", *kernels.values()]]
    rows = dict.fromkeys(result.row for result in results)
    lines += [[row, *(cell(row, kernel) for kernel in kernels)] for row in rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return text + "".join(f"\n{number}. {said}" for said, number in texts.items()) + "\n"


def _beginning(message: str) -> str:
    """Return the first line of a message, with the next one if it only announces it."""
    first, *more = message.splitlines() or [""]
    return f"{first} {more[0].strip()}" if first.endswith(":") and more else first


def kept() -> list[Result]:
    """Return the results of the last run of everything."""
    rows = json.loads(_RESULTS.read_text())
    return [Result(**row | {"verdict": Verdict(row["row"], **row["verdict"])}) for row in rows]


def document(results: Sequence[Result]) -> str:
    """Return docs/kernels.md with the table of these results in it."""
    text, places = _PLACE.subn(lambda _: f"\n{table(results)}\n", DOCUMENT.read_text())
    assert places == 1, f"{DOCUMENT} has {places} places for the results"
    return text


def write(results: Sequence[Result]) -> None:
    """Keep results, and write the document with them."""
    rows = [
        {
            "kernel": result.kernel,
            "release": result.release,
            "row": result.row,
            "verdict": {
                "outcome": result.verdict.outcome,
                "message": _beginning(result.verdict.message),
                "missed": result.verdict.missed,
                "notes": result.verdict.notes,
            },
        }
        for result in results
    ]
    lines = ",\n".join(f" {json.dumps(row)}" for row in rows)
    _RESULTS.write_text(f"[\n{lines}\n]\n")
    DOCUMENT.write_text(document(results))
