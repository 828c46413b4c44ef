"""From the probe to the acknowledgement, ms, at 1,000 exec/s.

The product's own pipeline runs in this process, with a sink whose delivery callback also
keeps the time and the message; the messages are decoded when all is over. An event's latency
is the time at which its delivery report was served less its own ``boot_ns``: both are
CLOCK_BOOTTIME. The load begins when the snapshot is acknowledged: how long a start takes is a
figure of its own.
"""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from taskstream import clock
from taskstream.message.decode import MessageDecoder
from taskstream.pipeline import Pipeline, Rhythm
from taskstream.record import KINDS
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.kafka_producer import KafkaProducer
from taskstream.source.live import LiveOptions, LiveSource
from tests.bench import load
from tests.bench.agent import SHAPES
from tests.bench.broker import broker
from tests.bench.figure import Effort, Figure, figure

__all__ = ["latency"]

_RUNS = 3
_SECONDS = 4.0
_RATE_HZ = 1000
_AIMS_MS = {50: 20.0, 99: 100.0}


class _TimedProducer(KafkaProducer):
    """Keeps when each message was acknowledged."""

    def __init__(self, options: KafkaOptions) -> None:
        self.served: list[tuple[int, bytes]] = []
        super().__init__(options)

    def _on_delivery(self, events: int, receipt: Any, error: Any, message: Any) -> None:
        super()._on_delivery(events, receipt, error, message)
        self.served.append((clock.boot_ns(), message.value()))


def _latencies_ms(served: list[tuple[int, bytes]]) -> NDArray[np.float64]:
    """Return the latency of each event but those of the snapshot."""
    decoder = MessageDecoder()
    found = []
    for served_ns, value in served:
        for batch in decoder.decode([value]).batches:
            boot_ns = batch.records["boot_ns"][batch.records["kind"] != KINDS["task"]]
            found.append(served_ns - boot_ns.astype(np.int64))
    return np.concatenate(found) / 1e6


def _run(shape: str, seconds: float) -> tuple[NDArray[np.float64], float]:
    """Run the pipeline for as long as a load takes; return latencies and the rate reached."""
    rhythm = Rhythm(window_ns=5 * 10**9)
    under_way: load.Load | None = None
    with broker() as address, LiveSource(LiveOptions(), host="bench") as source:
        with patch("taskstream.sink.kafka.KafkaProducer", _TimedProducer):
            sink = KafkaSink(KafkaOptions(bootstrap=address, message=shape))
        assert isinstance(sink._producer, _TimedProducer)
        served = sink._producer.served
        pipeline = Pipeline(
            source, sink, rhythm, failures_watched=False, on_interval=lambda _interval: None
        )

        def loaded() -> bool:
            nonlocal under_way
            if under_way is None and served:
                served.clear()
                under_way = load.start("exec", rate_hz=_RATE_HZ, seconds=seconds)
            return under_way is not None and not under_way.running

        pipeline.run(loaded)
        assert under_way is not None
        reached = under_way.end()
    return _latencies_ms(served), reached.rate_hz


def latency(effort: Effort) -> Iterator[Figure]:
    """Measure the median and the 99th percentile, in both shapes."""
    for shape in SHAPES:
        runs = [_run(shape, effort.seconds(_SECONDS)) for _ in range(effort.runs(_RUNS))]
        events = sum(len(ms) for ms, _ in runs)
        note = f"{events:,} events, at {min(rate for _, rate in runs):,.0f} exec/s"
        for percentile, aim in _AIMS_MS.items():
            values = [float(np.percentile(ms, percentile)) for ms, _ in runs]
            what = f"latency, probe to ack, `{shape}`, p{percentile}"
            yield figure("latency", what, "ms", values, aim=aim, note=note)
        worst = [float(ms.max()) for ms, _ in runs]
        yield figure("latency", f"latency, probe to ack, `{shape}`, max", "ms", worst, note=note)
