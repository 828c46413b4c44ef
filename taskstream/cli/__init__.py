"""The face: one module a verb. Only here are errors printed and exit codes chosen."""

import errno
import gc
import logging
import os
import sys
from io import StringIO, TextIOWrapper
from typing import Any

import click

from taskstream import __version__
from taskstream.cli.saying import sayer
from taskstream.errors import TaskstreamError
from taskstream.text import printable

__all__ = ["main"]

# numpy's BLAS would start threads, and take memory for each, at its first import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

INTERRUPTED = 130
LOSSES = 3

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_VERBS = {
    "capture": "Record this host's task events to a file.",
    "config": "Check the configuration, or show what is in force.",
    "consume": "Print the events of a topic, and what is missing in it.",
    "disable": "End the charts of app groups or cgroups in a running agent.",
    "doctor": "Say whether the agent can run here, and what to do if not.",
    "edit-config": "Edit your own copy of a configuration file.",
    "enable": "Let a running agent draw the charts of app groups or cgroups, for a time.",
    "export": "Write the events of a capture as Parquet, CSV or JSON lines.",
    "inspect": "Say what is in a capture, and whether it is whole.",
    "metrics": "Serve the rates of many hosts, out of the topic of rates, to Prometheus.",
    "netdata-plugin": "Record as a plugin of Netdata: charts on standard output.",
    "rates": "Recompute the rates of one host or many from their raw events.",
    "replay": "Replay captures: to a topic, as charts, as JSON, to a new capture.",
    "run": "Record this host's task events: publish them and show the rates.",
    "status": "Say what the agents of this host are doing.",
    "topics": "Make the topic of the events, or check one that is there.",
    "schema": "Print the fields of an event.",
    "top": "Show the rates live: by app, cgroup, service, command and user.",
}


class _Verbs(click.Group):
    """Imports a verb's module only when it is used: start-up time is part of the product."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        name = cmd_name.replace("-", "_")
        gc.disable()  # an import makes hardly any garbage, and to look for it takes a tenth of it
        module = __import__(f"taskstream.cli.{name}", fromlist=[name])
        gc.enable()
        command: click.Command = getattr(module, name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # else click makes it exit code 1
            _leave_output()
            ctx.exit(0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _VERBS[name]) for name in sorted(_VERBS)])


def _leave_output() -> None:
    """Let what standard output did not take go, which would fail once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="taskstream %(version)s")
def taskstream() -> None:
    """Record every task (process and thread) lifecycle event of a Linux host with eBPF.

    The raw events go to Kafka, and the rates are drawn from the same events.
    """


def main() -> None:
    """Run the command line, and exit.

    0 done, 1 an error that a message explains, 2 wrong usage, 3 done, but with losses,
    130 interrupted.
    """
    logging.getLogger("taskstream").addHandler(logging.NullHandler())
    if sys.stdout is None:  # it was closed
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, TextIOWrapper):  # what it cannot encode is no reason to end
        sys.stdout.reconfigure(errors="backslashreplace")
    verb = next((word for word in sys.argv[1:] if word in _VERBS), "")
    try:
        taskstream.main(prog_name="taskstream", standalone_mode=False)
    except TaskstreamError as error:
        sayer(verb)(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        said = StringIO()
        error.show(said)
        lines = said.getvalue().rstrip().expandtabs(4).split("\n")
        click.echo("\n".join(map(printable, lines)), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        sayer(verb)(f"the output cannot be written: {error.strerror}")
        _leave_output()
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
