"""What is read for a transaction is as much as can be written in its time."""

import pytest

from taskstream.turn import LEAST_BYTES, MOST_BYTES, TurnSize


@pytest.mark.parametrize("bytes_per_s", [20_000, 1_000_000, 1 << 40])
def test_transactions_fit_their_time_after_a_few_however_slow_the_brokers_are(bytes_per_s):
    size, failed = TurnSize(10), 0
    for _ in range(20):
        seconds = size.most_bytes / bytes_per_s
        if seconds > 10:
            size.failed()
            failed += 1
        else:
            size.took(seconds)
    assert failed <= 5
    assert size.most_bytes / bytes_per_s <= 10


def test_it_has_bounds_on_both_sides():
    size = TurnSize(10)
    size.took(0.1)
    assert size.most_bytes == MOST_BYTES
    for _ in range(40):
        size.took(9)
    assert size.most_bytes == LEAST_BYTES
    size.took(0.1)
    assert size.most_bytes == 2 * LEAST_BYTES


@pytest.mark.parametrize(
    ("messages", "size", "most"),
    [(0, 0, 67_108), (10, 1 << 30, 1), (1000, 1 << 20, 64_000), (9, 0, MOST_BYTES)],
)
def test_messages_are_as_many_as_fit_judged_by_the_last_ones(messages, size, most):
    assert TurnSize(10).messages(messages, size) == most
