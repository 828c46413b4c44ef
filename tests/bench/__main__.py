"""``make bench``: measure the cost table; options as in ``make bench ARGS=--quick``."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    capture,
    codec,
    cost,
    fleet,
    groups,
    kernel,
    latency,
    loss,
    machine,
    members,
    mode,
    recount,
    slowdown,
    start,
    table,
)
from tests.bench.figure import Effort, Figure

_PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"

THEMES: dict[str, Callable[[Effort], Iterator[Figure]]] = {
    "encode": codec.encode,
    "decode": codec.decode,
    "groups": groups.groups,
    "capture": capture.capture,
    "replay": capture.replay,
    "rates": recount.recount,
    "fleet": fleet.fleet,
    "members": members.members,
    "kernel": kernel.kernel,
    "mode": mode.mode,
    "mode-guest": mode.guest,
    "cpu": cost.cpu,
    "share": cost.share,
    "latency": latency.latency,
    "memory": cost.memory,
    "start": start.start,
    "loss": loss.loss,
    "slowdown": slowdown.slowdown,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=THEMES, help="a theme; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke check of about a minute")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=_PAGE,
        metavar="PAGE",
        help="write a page too, docs/benchmarks.md if none is named",
    )
    return parser.parse_args()


def _measure(themes: list[str], effort: Effort, failed: list[str]) -> Iterator[Figure]:
    """Measure theme by theme; what goes wrong in one is told, and does not end the others."""
    for theme in themes:
        try:
            for figure in THEMES[theme](effort):
                what, unit, value, _, aim, met, _ = table.row(figure)
                print(f"{what}: {value} {unit} {aim} {met}".rstrip(), file=sys.stderr, flush=True)
                yield figure
        except (RuntimeError, OSError) as error:
            print(f"bench: {theme} could not be measured: {error}", file=sys.stderr)
            failed.append(theme)


def main() -> None:
    """Measure what is asked for and print it."""
    arguments = _arguments()
    if os.geteuid() != 0:
        sys.exit("bench: loads probes: run as root")
    about = machine.describe()
    failed: list[str] = []
    themes = arguments.only or list(THEMES)
    figures = list(_measure(themes, Effort(arguments.quick), failed))
    about["load average"] += f" (before), {os.getloadavg()[0]:.2f} (after)"
    command = shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])
    page = table.document(figures, about, command)
    if arguments.write:
        arguments.write.write_text(page)
    if arguments.json:
        rows = [figure.to_map() for figure in figures]
        print(json.dumps({"machine": about, "command": command, "figures": rows}, indent=1))
    else:
        print(page)
    sys.exit(1 if failed else 0)


main()
