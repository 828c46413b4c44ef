"""The wall clock is followed, and a step of it is noticed, once."""

import pytest

from taskstream.clock import STEP_NS, ClockPair, WallClock, boot_ns, read_pair

SECOND = 10**9
WALL = 1_790_000_000 * SECOND


class Clocks:
    """Both clocks of a host, turned by hand."""

    def __init__(self) -> None:
        self.boot_ns = 100 * SECOND
        self.offset_ns = WALL
        self.reads = 0

    def __call__(self) -> ClockPair:
        self.reads += 1
        return ClockPair(self.boot_ns, self.boot_ns + self.offset_ns)

    def pass_time(self, ns: int) -> int:
        """Let time pass; return CLOCK_BOOTTIME."""
        self.boot_ns += ns
        return self.boot_ns


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_the_offset_is_wall_minus_boot():
    assert ClockPair(5, 12).offset_ns == 7
    assert ClockPair(12, 5).offset_ns == -7


def test_the_pair_is_read_at_the_start(clocks):
    assert WallClock(clocks).pair == ClockPair(100 * SECOND, 100 * SECOND + WALL)


def test_the_clocks_are_read_again_only_when_it_is_time(clocks):
    wall = WallClock(clocks, every_ns=SECOND)
    for _ in range(9):
        wall.refresh(clocks.pass_time(SECOND // 10))
    assert clocks.reads == 1
    wall.refresh(clocks.pass_time(SECOND // 10))
    assert clocks.reads == 2


@pytest.mark.parametrize("step_ns", [3600 * SECOND, -3600 * SECOND, STEP_NS + 1, -STEP_NS - 1])
def test_a_step_of_the_wall_clock_is_told_once_and_followed(clocks, step_ns):
    wall = WallClock(clocks)
    clocks.offset_ns += step_ns
    assert wall.refresh(clocks.pass_time(SECOND)) == step_ns
    assert wall.pair.offset_ns == WALL + step_ns
    assert wall.refresh(clocks.pass_time(SECOND)) == 0


def test_a_slow_drift_is_followed_and_is_no_step(clocks):
    wall = WallClock(clocks)
    for _ in range(1000):
        clocks.offset_ns += 500_000  # 500 ppm, as fast as NTP slews
        assert wall.refresh(clocks.pass_time(SECOND)) == 0
    assert wall.pair.offset_ns == WALL + 1000 * 500_000


def test_a_step_before_it_is_time_to_look_is_told_when_it_is(clocks):
    wall = WallClock(clocks)
    clocks.offset_ns += 5 * SECOND
    assert wall.refresh(clocks.pass_time(1)) == 0
    assert wall.refresh(clocks.pass_time(SECOND)) == 5 * SECOND


def test_two_steps_between_two_looks_are_told_as_their_sum(clocks):
    wall = WallClock(clocks)
    clocks.offset_ns += 5 * SECOND
    clocks.offset_ns -= 2 * SECOND
    assert wall.refresh(clocks.pass_time(SECOND)) == 3 * SECOND


def test_a_suspended_host_is_no_step(clocks):
    """CLOCK_BOOTTIME goes on while the host sleeps, as the wall does."""
    wall = WallClock(clocks)
    assert wall.refresh(clocks.pass_time(8 * 3600 * SECOND)) == 0


def test_two_readings_of_the_real_clocks_agree():
    first, second = read_pair(), read_pair()
    assert second.boot_ns >= first.boot_ns
    assert abs(second.offset_ns - first.offset_ns) < STEP_NS


def test_boot_time_does_not_go_back():
    times = [boot_ns() for _ in range(100)]
    assert times == sorted(times)
