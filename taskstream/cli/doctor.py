"""``taskstream doctor``: say whether the agent can run here, and what to do if it cannot."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from taskstream.doctor import Finding, examine

__all__ = ["doctor", "lines"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}


def lines(findings: Sequence[Finding], *, colour: bool) -> Iterator[str]:
    """Write findings in aligned columns, a line for each.

    Args:
        findings: In order.
        colour: Whether the states are coloured.
    """
    checks = max(len(finding.check) for finding in findings)
    states = max(map(len, _COLOURS))
    for finding in findings:
        state = f"{finding.state:{states}}"
        if colour:
            state = click.style(state, fg=_COLOURS[finding.state])
        repair = f" (repair: {finding.repair})" if finding.repair else ""
        yield f"{state}  {finding.check:{checks}}  {finding.found}{repair}"


def _settings(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    """Split ``key=value``; a wrong one is not shown, it may be a secret."""
    split = [pair.split("=", 1) for pair in pairs]
    if any(len(parts) < 2 or not parts[0] for parts in split):
        raise click.BadParameter("give KEY=VALUE")
    return {parts[0]: parts[1] for parts in split}


@click.command()
@click.option("--bootstrap", metavar="HOST:PORT,...", help="Ask these Kafka brokers, too.")
@click.option("--topic", default="taskstream.events", show_default=True, help="To look for there.")
@click.option(
    "--kafka",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_settings,
    help="A librdkafka setting, as security.protocol=ssl; may be repeated.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="How long a broker may take to answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array of objects.")
def doctor(
    bootstrap: str | None, topic: str, settings: dict[str, str], timeout_s: float, as_json: bool
) -> None:
    """Find out whether the agent can run on this machine.

    Prints one line for each check, with the repair where there is something to repair. Every
    probe is really loaded and attached, for a moment. Exits with 0 if nothing keeps the agent
    from running, else with 1.
    """
    if bootstrap is not None:
        if not bootstrap.strip(" ,"):
            raise click.BadParameter("is empty: give HOST:PORT", param_hint="--bootstrap")
        if "bootstrap.servers" in settings:
            raise click.UsageError("--bootstrap and --kafka bootstrap.servers exclude each other")
        settings = {"bootstrap.servers": bootstrap, **settings}
    elif settings and "bootstrap.servers" not in settings:
        raise click.UsageError("--kafka is for a broker: give --bootstrap HOST:PORT, too")
    findings = examine(kafka=settings or None, topic=topic, timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for line in lines(findings, colour=sys.stdout.isatty()):
            click.echo(line)
    if any(finding.state == "fail" for finding in findings):
        raise SystemExit(1)
