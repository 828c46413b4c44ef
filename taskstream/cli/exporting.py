"""A recorded stream as Netdata or Prometheus takes it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from taskstream.capture.reader import CaptureFile
from taskstream.cli.saying import show_data
from taskstream.config.config import OFF
from taskstream.config.option import OPTIONS
from taskstream.errors import CaptureError
from taskstream.sink.netdata import NetdataCharts

if TYPE_CHECKING:
    from taskstream.sink.prometheus import Metrics

__all__ = ["listen_address", "netdata_charts", "serving"]

_LOOK_S = 0.1


def listen_address(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    """Read an address as [prometheus] of the configuration has it; a callback for click."""
    if value is None:
        return None
    option = OPTIONS["prometheus"]["listen"]
    try:
        text = option.read(value)
    except ValueError:
        text = OFF
    if text == OFF:
        raise click.BadParameter(f"{value!r} cannot be: allowed is HOST:PORT, or PORT")
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def netdata_charts(first: CaptureFile, semantics: str) -> NetdataCharts:
    """Return what writes intervals of the length that a capture has.

    Raises:
        CaptureError: its header is damaged.
    """
    if first.header is None:
        raise CaptureError(
            f"{first.name}: the header, which has the length of intervals, is damaged"
        )
    seconds = max(1, first.header.about.window_ns // 10**9)
    return NetdataCharts(seconds, time.monotonic_ns, semantics=semantics)


@contextmanager
def serving(
    metrics: "Metrics",
    address: tuple[str, int] | None,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> Iterator[None]:
    """Serve metrics while and after they change, until stopped; without an address, print them."""
    from taskstream.sink.prometheus import MetricsServer, exposition  # takes its time

    if address is None:
        yield
        show_data(exposition(metrics))
        return
    with MetricsServer(metrics, *address) as server:
        say(f"metrics at http://{address[0]}:{server.port}/metrics")
        yield
        while not stopped():
            time.sleep(_LOOK_S)
