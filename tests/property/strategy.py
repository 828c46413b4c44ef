"""Whatever a batch can hold."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from taskstream.batch import Batch, ExecText, Label, Labels, Origin
from taskstream.record import CALLS, FIELDS, FLAGS, KINDS, RECORD, VERSION
from tests.synthetic import visible

__all__ = ["any_bytes", "batches", "chunks", "origins", "plain_values"]

_OURS = ("version", "kind", "flags", "seq", "boot_ns", "comm", "call")

any_bytes = st.one_of(
    st.binary(max_size=24),
    st.text(max_size=12).map(str.encode),
    st.sampled_from([b"", b"\\", b"\0", b"\xff", b"a\\x5cb", "ü".encode()[:1]]),
)
"""Bytes, often text, often just no text."""

origins = st.builds(Origin, st.text(max_size=12), st.text(max_size=36), st.integers(0, 2**64 - 1))

plain_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=6),
        st.binary(max_size=6),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
"""Whatever MessagePack can say."""

_names = st.one_of(st.none(), st.text(max_size=12))
_labels = st.lists(st.builds(Label, _names, _names, _names, _names), min_size=1, max_size=4)

_known_bits = sum(flag.mask for flag in FLAGS.values())
_flags = st.one_of(
    st.just(0),
    st.sampled_from([flag.mask for flag in FLAGS.values()]),
    st.integers(0, 2**32 - 1),
).map(lambda flags: flags & ~FLAGS["text_escaped"].mask)


_RANGES = {
    f.name: (int(np.iinfo(RECORD[f.name]).min), int(np.iinfo(RECORD[f.name]).max))
    for f in FIELDS
    if f.name not in _OURS
}


def _numbers(seed: int) -> dict[str, int]:
    """Return a value for every field: all lowest, all highest, or any."""
    if seed < 2:
        return {name: bounds[seed] for name, bounds in _RANGES.items()}
    source = random.Random(seed)
    return {name: source.randint(*bounds) for name, bounds in _RANGES.items()}


@st.composite
def batches(draw: st.DrawFn, *, most: int = 8) -> Batch:
    """Make batches of any kinds, any flags, any numbers and any texts."""
    numbers = draw(st.lists(st.integers(0, 2**64 - 1), max_size=most, unique=True))
    records = np.zeros(len(numbers), RECORD)
    texts: dict[tuple[int, int], ExecText] = {}
    for record, seq in zip(records, numbers, strict=True):
        kind, flags = draw(st.sampled_from(list(KINDS))), draw(_flags)
        values = _numbers(draw(st.integers(0, 1000)))
        for name in values.keys() & set(visible(kind, flags)):
            record[name] = values[name]
        record["version"], record["kind"], record["flags"] = VERSION, KINDS[kind], flags
        record["seq"], record["boot_ns"] = seq, draw(st.integers(0, 2**62))
        record["comm"] = draw(any_bytes)[:16]
        if kind == "fail":
            record["call"] = draw(st.sampled_from(list(CALLS.values())))
        if kind == "exec" and not flags & FLAGS["args_lost"].mask:
            argv = b"".join(arg + b"\0" for arg in draw(st.lists(any_bytes, max_size=4)))
            cut = draw(st.integers(0, 3)) if flags & FLAGS["args_truncated"].mask else 0
            filename = draw(any_bytes)
            texts[int(record["cpu"]), seq] = filename, argv[: len(argv) - cut]
    labels = None
    if draw(st.booleans()):
        table = draw(_labels)
        rows = draw(
            st.lists(st.integers(0, len(table) - 1), min_size=len(records), max_size=len(records))
        )
        labels = Labels(table, np.array(rows, np.intp))
    return Batch(draw(origins), records, draw(st.integers(0, 2**62)), texts, labels=labels)


@st.composite
def chunks(draw: st.DrawFn, whole: SearchStrategy[Any]) -> tuple[Any, list[Any]]:
    """Draw something that can be sliced; return it, and the slices that it is made of."""
    drawn = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(drawn)), max_size=4)))
    bounds = [0, *cuts, len(drawn)]
    return drawn, [drawn[a:b] for a, b in pairwise(bounds)]
