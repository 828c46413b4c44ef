"""A recorded stream as Netdata or Prometheus takes it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taskstream.capture.reader import CaptureFile
from taskstream.cli.saying import show_data
from taskstream.errors import CaptureError
from taskstream.sink.netdata import NetdataCharts

if TYPE_CHECKING:
    from taskstream.sink.prometheus import Metrics

__all__ = ["netdata_charts", "serving"]

_LOOK_S = 0.1


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
        say(f"metrics at {server.url}")
        yield
        while not stopped():
            time.sleep(_LOOK_S)
