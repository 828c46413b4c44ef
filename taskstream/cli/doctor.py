"""``taskstream doctor``: say whether the agent can run here, and what to do if it cannot."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from taskstream.cli.option import BROKER_TEXT, kafka_option, kafka_settings, topic_option
from taskstream.config.config import EMBEDDED
from taskstream.doctor import Finding, examine
from taskstream.text import printable_lines

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
        yield f"{state}  " + printable_lines(f"{finding.check:{checks}}  {finding.found}{repair}")


def _broker(bootstrap: str | None, settings: dict[str, str]) -> dict[str, str] | None:
    """Return the settings of the broker to ask; None if there is none but the embedded one."""
    if bootstrap is not None and "bootstrap.servers" in settings:
        raise click.UsageError("--bootstrap and --kafka bootstrap.servers exclude each other")
    if bootstrap is not None and not bootstrap.strip(" ,"):
        raise click.UsageError("--bootstrap is empty: give HOST:PORT")
    if bootstrap not in (None, EMBEDDED):
        return {**settings, "bootstrap.servers": bootstrap}
    if settings and "bootstrap.servers" not in settings:
        raise click.UsageError("--kafka is for a broker: give --bootstrap HOST:PORT, too")
    return settings or None


@click.command()
@click.option(
    "--bootstrap", type=BROKER_TEXT, metavar="HOST:PORT,...", help="Ask these Kafka brokers, too."
)
@topic_option("Look for this topic there.")
@kafka_option
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
    bootstrap: str | None, topic: str, kafka: tuple[str, ...], timeout_s: float, as_json: bool
) -> None:
    """Find out whether the agent can run on this machine.

    Prints one line for each check, with the repair where there is something to repair. Every
    probe is really loaded and attached, for a moment. Exits with 0 if nothing keeps the agent
    from running, else with 1.
    """
    settings = _broker(bootstrap, kafka_settings(kafka))
    findings = examine(kafka=settings, topic=topic, timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for line in lines(findings, colour=sys.stdout.isatty()):
            click.echo(line)
    if any(finding.state == "fail" for finding in findings):
        raise SystemExit(1)
