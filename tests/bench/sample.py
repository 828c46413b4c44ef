"""Events to encode: recorded from this kernel, so that every field holds what it really holds.

Rim: loads the probes.
"""

import time
from collections.abc import Iterator
from functools import cache

import numpy as np

from taskstream.batch import Batch
from taskstream.record import FLAGS, KINDS, RECORD
from taskstream.source.live import LiveOptions, LiveSource
from tests.bench import load

__all__ = ["SAMPLE_EVENTS", "batches_of", "recorded"]

SAMPLE_EVENTS = 16384
_AT_ONCE = 1024
_KINDS = [KINDS[name] for name in ("fork", "exec", "exit", "free")]


@cache
def recorded() -> Batch:
    """Record `SAMPLE_EVENTS` events of processes that exec: forks, execs, exits, frees alike."""
    parts: list[Batch] = []
    with LiveSource(LiveOptions(), host="bench-host.example.org") as source:
        while sum(map(len, parts)) < SAMPLE_EVENTS:
            load.run("exec", calls=_AT_ONCE)
            time.sleep(0.05)  # a free comes from an RCU callback
            parts.append(source.read())
    records = np.concatenate([part.records.view(f"V{RECORD.itemsize}") for part in parts])
    records = records.view(RECORD)
    whole = np.isin(records["kind"], _KINDS) & (records["flags"] & FLAGS["args_lost"].mask == 0)
    texts = {place: text for part in parts for place, text in part.texts.items()}
    chosen = records[whole][:SAMPLE_EVENTS]
    return Batch(parts[-1].origin, chosen, parts[-1].wall_offset_ns, texts)


def batches_of(events: int) -> Iterator[Batch]:
    """Cut the sample into batches, each with the texts of its own execs, as a source does."""
    sample = recorded()
    for start in range(0, len(sample) - events + 1, events):
        records = sample.records[start : start + events]
        execs = records[records["kind"] == KINDS["exec"]]
        places = list(zip(execs["cpu"].tolist(), execs["seq"].tolist(), strict=True))
        texts = {place: sample.texts[place] for place in places}
        yield Batch(sample.origin, records, sample.wall_offset_ns, texts)
