"""Counting in pieces is counting at once, and nothing is counted twice or never."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taskstream.batch import Batch
from taskstream.message.batch_encode import shards
from taskstream.rates import WindowCounts, count_column
from taskstream.record import KINDS, RECORD
from taskstream.sequence import NumbersSeen
from tests.property.strategy import chunks
from tests.synthetic import ORIGIN, WALL_OFFSET_NS

WINDOW_NS = 1000


@st.composite
def records(draw: st.DrawFn) -> np.ndarray:
    """Draw records that count: kind, flags, call and time."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(list(KINDS.values())),
                st.integers(0, 2**32 - 1),
                st.integers(1, 6),
                st.integers(10**15, 10**15 + 20 * WINDOW_NS),
                st.integers(1, 5),
            ),
            max_size=30,
        )
    )
    drawn = np.zeros(len(rows), RECORD)
    for name, column in zip(
        ("kind", "flags", "call", "boot_ns", "tgid"), zip(*rows, strict=True), strict=False
    ):
        drawn[name] = column
    drawn["call"][drawn["kind"] != KINDS["fail"]] = 0
    return drawn


def contents(counts: WindowCounts) -> dict[int, list[int]]:
    """Take everything out."""
    return {window: counts.take(window).tolist() for window in counts.windows()}


@given(chunks(records()))
def test_windows_filled_in_pieces_are_windows_filled_at_once(drawn):
    whole, parts = drawn
    at_once, in_pieces = WindowCounts(WINDOW_NS), WindowCounts(WINDOW_NS)
    at_once.add(whole)
    for part in parts:
        in_pieces.add(part)
    assert at_once.total.tolist() == in_pieces.total.tolist()
    assert contents(at_once) == contents(in_pieces)


@given(records())
def test_every_event_is_counted_once_but_the_tasks_of_the_snapshot(drawn):
    counts = WindowCounts(WINDOW_NS)
    counts.add(drawn)
    happened = int((drawn["kind"] != KINDS["task"]).sum())
    assert int(counts.total.sum()) == happened
    assert sum(map(sum, contents(counts).values())) == happened


@given(records())
def test_every_event_is_counted_in_the_window_of_its_time(drawn):
    counts = WindowCounts(WINDOW_NS)
    counts.add(drawn)
    expected: dict[int, int] = {}
    for boot_ns in drawn["boot_ns"][count_column(drawn) >= 0].tolist():
        expected[boot_ns // WINDOW_NS] = expected.get(boot_ns // WINDOW_NS, 0) + 1
    assert {window: sum(row) for window, row in contents(counts).items()} == expected


@given(records(), st.integers(1, 9))
def test_shards_hold_every_event_once_and_every_process_in_one(drawn, count):
    drawn["seq"] = np.arange(len(drawn))
    parts = dict(shards(Batch(ORIGIN, drawn, WALL_OFFSET_NS), count))
    numbers = [n for part in parts.values() for n in part.records["seq"].tolist()]
    assert sorted(numbers) == list(range(len(drawn)))
    homes: dict[int, set[int]] = {}
    for shard, part in parts.items():
        for tgid in part.records["tgid"].tolist():
            homes.setdefault(tgid, set()).add(shard)
    assert all(len(home) == 1 for home in homes.values())


@given(records(), st.integers(1, 9))
def test_shards_keep_the_order_of_each_process(drawn, count):
    drawn["seq"] = np.arange(len(drawn))
    for _, part in shards(Batch(ORIGIN, drawn, WALL_OFFSET_NS), count):
        assert (np.diff(part.records["seq"].astype(np.int64)) > 0).all()


offsets = st.lists(st.lists(st.integers(0, 25), max_size=12), max_size=8)


@given(st.sampled_from([0, 1, 2**53, 2**63, 2**64 - 30]), offsets)
def test_numbers_seen_are_a_set(base, parts):
    seen, model = NumbersSeen(), set[int]()
    for part in parts:
        numbers = np.array([base + n for n in part], np.uint64)
        fresh = seen.add(numbers)
        for number, is_fresh in zip(numbers.tolist(), fresh.tolist(), strict=True):
            assert is_fresh == (number not in model)
            model.add(number)
        assert seen.first == min(model, default=None)
        assert seen.after_last == (max(model) + 1 if model else None)
        span = max(model) + 1 - min(model) if model else 0
        assert seen.missing_between() == span - len(model)
        runs = zip(seen.starts.tolist(), seen.ends.tolist(), strict=True)
        assert {n for start, end in runs for n in range(start, end)} == model


@given(offsets)
def test_runs_are_apart_and_in_order(parts):
    seen = NumbersSeen()
    for part in parts:
        seen.add(np.array(part, np.uint64))
    bounds = [b for run in zip(seen.starts.tolist(), seen.ends.tolist(), strict=True) for b in run]
    assert bounds == sorted(set(bounds))
