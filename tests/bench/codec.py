"""Encode and decode, ns/event: no kernel and no broker, the CPU time of one thread."""

import gc
import time
from collections.abc import Callable, Iterator

from taskstream.batch import Batch
from taskstream.message.batch_encode import encode_batch
from taskstream.message.decode import MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.message.json import JsonEncoder
from taskstream.message.message import Messages
from tests.bench.agent import SHAPES
from tests.bench.figure import Effort, Figure, figure
from tests.bench.sample import batches_of

__all__ = ["decode", "encode"]

_BATCH_EVENTS = (64, 512, 4096)
_FEW_EVENTS = (4, 16, 64)
_RUNS = 7
_LEAST_NS = 150_000_000
_ENCODE_AIM_NS = 200

Encode = Callable[[Batch], Messages]


def _ns_per_event(work: Callable[[], int], effort: Effort) -> Iterator[float]:
    """Do work that returns its number of events, warm, for a while; once per run."""
    work()
    for _ in range(effort.runs(_RUNS)):
        gc.collect()
        events, start = 0, time.thread_time_ns()
        while (spent := time.thread_time_ns() - start) < _LEAST_NS:
            events += work()
        yield spent / events


def _encoder(shape: str, batches: list[Batch]) -> Encode:
    if shape == "batch":
        return encode_batch
    make = JsonEncoder if shape == "json" else EventEncoder
    return make(batches[0].origin).encode


def encode(effort: Effort) -> Iterator[Figure]:
    """Encode the sample in every shape; the messages are sliced and have their keys."""
    for shape in (*SHAPES, "json"):
        for events in _BATCH_EVENTS:
            batches = list(batches_of(events))
            make = _encoder(shape, batches)
            sizes: list[int] = [sum(map(len, make(b).values)) for b in batches]

            def work(batches: list[Batch] = batches, make: Encode = make) -> int:
                for batch in batches:
                    make(batch)
                return sum(map(len, batches))

            what = f"encode, `{shape}` messages, batches of {events}"
            note = f"{sum(sizes) / (len(batches) * events):.0f} bytes/event"
            spent = _ns_per_event(work, effort)
            yield figure("encode", what, "ns/event", spent, aim=_ENCODE_AIM_NS, note=note)


def decode(effort: Effort) -> Iterator[Figure]:
    """Decode what `encode` made, as `taskstream consume` does."""
    for shape in (*SHAPES, "json"):
        for events in _BATCH_EVENTS:
            batches = list(batches_of(events))
            make = _encoder(shape, batches)
            values = [make(batch).values for batch in batches]
            decoder = MessageDecoder()

            def work(values: list[list[bytes]] = values, into: MessageDecoder = decoder) -> int:
                return sum(len(b) for v in values for b in into.decode(v).batches)

            what = f"decode, `{shape}` messages, {events} events at a time"
            yield figure("decode", what, "ns/event", _ns_per_event(work, effort))
    for events in _FEW_EVENTS:
        short = [value for batch in batches_of(events) for value in encode_batch(batch).values]
        decoder = MessageDecoder()

        def many(values: list[bytes] = short, into: MessageDecoder = decoder) -> int:
            return sum(map(len, into.decode(values).batches))

        what = f"decode, `batch` messages of {events} events, {len(short):,} messages at a time"
        yield figure("decode", what, "ns/event", _ns_per_event(many, effort))
