"""Numbers that were read: every event once, whatever comes again, late or never."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskstream.batch import Batch, Origin, take
from taskstream.ledger import MOST, Ledger, Numbers
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, lives

SECOND = 10**9


def array(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.uint64)


@given(st.lists(st.lists(st.integers(100, 160), min_size=1, max_size=20), max_size=12))
def test_each_number_is_fresh_exactly_once(chunks):
    numbers, seen = Numbers(100), set()
    for chunk in chunks:
        for number, fresh in zip(chunk, numbers.add(array(chunk)).tolist(), strict=True):
            assert fresh == (number not in seen)
            seen.add(number)
    floor = next(n for n in range(100, 200) if n not in seen)
    assert (numbers.floor, numbers.top) == (floor, max(seen, default=99) + 1)


@given(
    st.lists(st.integers(0, 300), min_size=1),
    st.integers(0, 300),
    st.lists(st.integers(0, 300), min_size=1),
)
def test_what_is_kept_is_taken_back_whole(first, floor, second):
    numbers = Numbers(0)
    numbers.add(array(first))
    numbers.raise_to(floor)
    numbers.age(SECOND, 10 * SECOND)
    again = Numbers.from_list(numbers.to_list())
    assert again.to_list() == numbers.to_list()
    assert again.add(array(second)).tolist() == numbers.add(array(second)).tolist()


@given(st.sets(st.integers(0, 99)))
def test_raising_the_floor_tells_how_many_never_came(came):
    numbers = Numbers(0)
    if came:
        numbers.add(array(sorted(came)))
    assert numbers.raise_to(100) == 100 - len(came)
    assert not numbers.add(array([*range(100)])).any()


def test_a_number_from_far_off_costs_no_memory():
    numbers = Numbers(0)
    numbers.add(array([0, 2]))
    assert numbers.add(array([1 << 62])).all()
    assert len(numbers.to_list()[3]) <= MOST
    assert not numbers.add(array([1])).any()


def parts(batch: Batch, *rows: list[int]) -> list[Batch]:
    return [
        Batch(batch.origin, take(batch.records, np.array(part, np.intp)), batch.wall_offset_ns)
        for part in rows
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_in_chunks_of_any_order_twice_is_the_batch_once(seed):
    whole = lives(50, cpus=3)
    random = np.random.default_rng(seed)
    order = random.permutation(np.tile(np.arange(len(whole)), 2))
    chunks = np.split(order, sorted(random.integers(0, len(order), 20)))
    ledger, fresh, again = Ledger(), [], 0
    for chunk in chunks:
        entered = ledger.enter(parts(whole, chunk.tolist())[0])
        fresh += entered.fresh.records["boot_ns"].tolist()
        again += entered.again
        assert not entered.late
    assert sorted(fresh) == whole.records["boot_ns"].tolist()
    assert again == len(whole)


def test_an_event_within_the_bound_is_taken_and_one_behind_it_is_counted():
    whole = lives(1500, cpus=1)  # a millisecond each: six seconds
    early, near, rest = parts(
        whole, [100], [5500], [n for n in range(6000) if n not in (100, 5500)]
    )
    ledger = Ledger(late_ns=2 * SECOND)
    for at in range(0, len(rest), 100):
        ledger.enter(parts(rest, list(range(at, min(at + 100, len(rest)))))[0])
        ledger.settle()
    entered = ledger.enter(near)
    assert (len(entered.fresh), entered.late) == (1, 0)
    entered = ledger.enter(early)
    assert (len(entered.fresh), entered.again, entered.late) == (0, 0, 1)


def test_batches_of_one_reading_may_lie_across_one_another_in_time():
    """Events are decoded by the clock's offset, which has a value now and again."""
    whole = lives(5000, cpus=1)  # 20 seconds
    ledger = Ledger(late_ns=2 * SECOND)
    for begin in (0, 10_000):
        here = range(begin, begin + 10_000)
        offsets = [(n // 1000) % 2 for n in here]
        for offset in (0, 1):
            rows = [n for n, has in zip(here, offsets, strict=True) if has == offset]
            entered = ledger.enter(parts(whole, rows)[0])
            assert (len(entered.fresh), entered.late) == (5000, 0)
        ledger.settle()
    assert ledger.enter(parts(whole, [0])[0]).again == 1


def test_the_ledger_is_small_however_much_is_read_by_one_of_many_partitions():
    """Every second number is another's, so no floor rises by itself."""
    ledger, sizes = Ledger(late_ns=SECOND), []
    whole = lives(5000, cpus=1)  # 20 seconds
    for at in range(0, len(whole), 1000):
        ledger.enter(parts(whole, list(range(at, at + 1000, 2)))[0])
        ledger.settle()
        sizes.append(len(ledger.to_map(ORIGIN)["cpus"][0][1][3]))
    assert max(sizes) <= (2 * SECOND // 1_000_000) / 8


def test_two_runs_on_one_host_are_kept_apart():
    ledger = Ledger()
    other = Origin(ORIGIN.host, ORIGIN.boot_id, ORIGIN.run_ns + 5)
    for origin in (ORIGIN, other):
        assert not ledger.enter(lives(10, origin=origin)).again
    assert len(ledger) == 2
    ledger.forget(other)
    assert not ledger.enter(lives(10, origin=other)).again
    assert ledger.enter(lives(10)).again == 40


def test_the_watermark_is_the_moment_up_to_which_nothing_is_missing():
    whole = lives(1000, cpus=1)  # four seconds
    ledger = Ledger()
    first, hole, second = parts(whole, list(range(1000)), [1000], list(range(1001, 4000)))
    for at in range(0, len(first), 100):
        ledger.enter(parts(first, list(range(at, at + 100)))[0])
        ledger.settle()
    for at in range(0, len(second), 100):
        ledger.enter(parts(second, list(range(at, min(at + 100, len(second)))))[0])
        ledger.settle()
    before = ledger.watermarks()[ORIGIN, 0] - ORIGIN.run_ns
    assert SECOND // 2 <= before <= SECOND
    ledger.enter(hole)
    ledger.enter(parts(whole, [3999])[0])
    ledger.settle()
    assert ledger.watermarks()[ORIGIN, 0] - ORIGIN.run_ns >= 3 * SECOND


def test_an_empty_batch_is_nobody():
    empty = Batch(ORIGIN, lives(1).records[:0], WALL_OFFSET_NS)
    ledger = Ledger()
    assert not len(ledger.enter(empty).fresh)
    assert not ledger.touched


def dated(*boot_ns: int, first: int) -> Batch:
    """Return events of one CPU with these times."""
    whole = lives(len(boot_ns), cpus=1)
    (batch,) = parts(whole, list(range(len(boot_ns))))
    batch.records["boot_ns"] = boot_ns
    batch.records["seq"] = ORIGIN.run_ns + first + np.arange(len(boot_ns))
    return batch


DAYS_NS = 86_400 * SECOND
SPOILT_NS = [2 * DAYS_NS, 400 * DAYS_NS, (1 << 64) - 1]


@pytest.mark.parametrize("spoilt_ns", SPOILT_NS)
def test_one_event_from_the_far_future_is_left_out_and_the_next_ones_are_taken(spoilt_ns):
    ledger, at = Ledger(late_ns=SECOND, doubts=True), ORIGIN.run_ns
    assert len(ledger.enter(dated(at, at + 1, first=0)).fresh) == 2
    for first, batch in ((2, [spoilt_ns]), (4, [at + 4, spoilt_ns, at + 6])):
        entered = ledger.enter(dated(*batch, first=first))
        assert (entered.doubted, len(entered.fresh)) == (1, len(batch) - 1)
    assert ledger.to_map(ORIGIN)["newest_ns"] == at + 6
    entered = ledger.enter(dated(at + 3, first=3))
    assert (len(entered.fresh), entered.late) == (1, 0)


@pytest.mark.parametrize("spoilt_ns", SPOILT_NS)
def test_the_first_events_of_a_run_show_which_of_them_is_spoilt(spoilt_ns):
    ledger, at = Ledger(late_ns=SECOND, doubts=True), ORIGIN.run_ns
    entered = ledger.enter(dated(spoilt_ns, at + 1, at + 2, first=0))
    assert (entered.doubted, len(entered.fresh)) == (1, 2)


@pytest.mark.parametrize("parted", [True, False])
def test_a_clock_that_did_jump_is_believed_with_the_second_event(parted):
    ledger, at = Ledger(late_ns=SECOND, doubts=True), ORIGIN.run_ns
    ledger.enter(dated(at, at + 1, first=0))
    later = at + 30 * DAYS_NS
    if parted:
        assert ledger.enter(dated(later, first=2)).doubted == 1
        again = Ledger(late_ns=SECOND, doubts=True)
        again.restore(ORIGIN, ledger.to_map(ORIGIN))
        assert len(again.enter(dated(later + 5, first=3)).fresh) == 1
    else:
        assert len(ledger.enter(dated(later, later + 5, first=2)).fresh) == 2
