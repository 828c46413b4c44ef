"""The agent's cost is told with that of the interval before, so that it can be divided."""

import time

from taskstream.meter import Meter


def test_the_first_reading_counts_from_the_start():
    agent = Meter(lambda: 700, lambda: 4096).read(queued=3, dropped=2, forgotten=1)
    assert (agent.cpu_ns, agent.resident_bytes, agent.queued) == (700, 4096, 3)
    assert (agent.since("cpu_ns"), agent.since("dropped")) == (700, 2)


def test_a_later_reading_counts_from_the_one_before():
    clock = iter([700, 1000, 1010])
    meter = Meter(lambda: next(clock), lambda: 0)
    meter.read(queued=0, dropped=2, forgotten=0)
    second = meter.read(queued=0, dropped=5, forgotten=4)
    third = meter.read(queued=0, dropped=5, forgotten=4)
    assert [second.since(n) for n in ("cpu_ns", "dropped", "forgotten")] == [300, 3, 4]
    assert [third.since(n) for n in ("cpu_ns", "dropped", "forgotten")] == [10, 0, 0]


def test_no_reading_holds_all_those_before_it():
    meter = Meter(lambda: 0, lambda: 0)
    agents = [meter.read(queued=0, dropped=0, forgotten=0) for _ in range(3)]
    assert agents[2].before is not None
    assert agents[2].before.before is None


def test_this_process_has_used_time_and_memory():
    agent = Meter().read(queued=0, dropped=0, forgotten=0)
    assert 0 < agent.cpu_ns <= time.process_time_ns()
    assert 1 << 20 < agent.resident_bytes < 1 << 34
