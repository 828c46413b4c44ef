"""Members of a group say together what one alone would say, whoever dies or takes over."""

from collections import defaultdict
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from taskstream.closing import Closing
from taskstream.errors import ConfigError
from taskstream.grouping.choice import Choice
from taskstream.interval import Interval
from taskstream.partial import Partial, PartialSums
from taskstream.share import Share
from tests.agent_run import CHOICE, HOST, Keeper, Run
from tests.agent_run import drawn as drawn_of
from tests.fleet import HOMES, TOPICS, Group
from tests.plain import boot_ns_of
from tests.unit.test_recount import recount

HOSTS = 3
LONG_MS = 10_000_000


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [Run(replace(HOST, host=f"web-{n}"), seed=n, lost=0.1 * (n % 2)) for n in range(HOSTS)]


def events(runs: list[Run], shape: str = "event") -> dict[int, list[bytes]]:
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    for run in runs:
        for place, values in run.partitions(shape).items():
            found[place.partition] += values
    return dict(found)


def finish(group: Group) -> None:
    """Have the members read to the end of everything."""
    for _ in range(100):
        for member in group.members:
            member.read(1 << 30, 5)
            member.commit(5, progress=False)
        if all(member.at_end for member in group.members):
            return
    raise AssertionError("the members do not come to an end")


def drawn(group: Group) -> Keeper:
    keeper = Keeper()
    for origin, interval in group.told:
        keeper.interval(origin, interval)
    return keeper


@pytest.mark.parametrize("shape", ["event", "batch"])
@pytest.mark.parametrize("members", [1, 2, 4])
def test_every_hosts_charts_are_its_agents_own_however_many_members_share_the_work(
    runs, members, shape
):
    group = Group(events(runs, shape), CHOICE)
    for _ in range(members):
        group.join()
    group.share_out(np.random.default_rng(members))
    finish(group)
    assert drawn(group).drawn == {run.origin.host: run.drawn for run in runs}


@pytest.mark.parametrize("seed", range(10))
def test_no_event_is_lost_or_doubled_when_members_die_join_and_hand_over(runs, seed):
    random = np.random.default_rng(seed)
    group = Group(events(runs), CHOICE)
    group.join()
    group.share_out(random)
    for _ in range(60):
        member = group.members[random.integers(len(group.members))]
        what = random.integers(13)
        if what == 0 and len(group.members) > 1:
            group.kill(member)
            group.share_out(random)
        elif what == 1 and len(group.members) < 4:
            group.join()
            group.share_out(random)
        elif what == 2:
            group.share_out(random)
        elif what == 12:
            member.abort(5)
        elif what < 6:
            member.commit(5)
        else:
            member.read(int(random.integers(1, 200)), 5)
    finish(group)
    assert drawn(group).drawn == {run.origin.host: run.drawn for run in runs}
    counted = sum(member.share.totals.events for member in group.ever)
    assert counted == sum(len(batch) for run in runs for batch in run.batches)
    told = sum(member.share.totals.intervals for member in group.ever)
    assert told == sum(len(run.drawn) for run in runs)


def test_a_topic_that_was_written_twice_counts_once_also_across_a_restart(runs):
    whole = events(runs)
    group = Group({partition: [*values, *values] for partition, values in whole.items()}, CHOICE)
    member = group.join()
    group.share_out(np.random.default_rng(1))
    member.read(len(whole[0]), 5)
    member.commit(5)
    group.kill(member)
    group.join()
    group.share_out(np.random.default_rng(1))
    finish(group)
    assert drawn(group).drawn == {run.origin.host: run.drawn for run in runs}


def test_an_interval_that_lacks_events_is_closed_when_everyone_has_read_on(runs):
    whole = events(runs[:1])
    whole[1] = whole[1][9:]
    group = Group(whole, CHOICE)
    one, other = group.join(), group.join()
    for place in group.messages:
        (one if place[1] % 2 else other).gain(place)
    for now_ms in (5, 6):
        for member in (one, other):
            member.read(1 << 30, now_ms)
            member.commit(now_ms)
    before = len(group.told)
    assert before < len(runs[0].drawn)
    one.commit(LONG_MS)
    for member in (one, other):
        member.read(1 << 30, LONG_MS)
        member.commit(5)
    assert len(group.told) == before  # the other has not read so far
    other.commit(LONG_MS)
    for member in (one, other):
        member.read(1 << 30, LONG_MS)
        member.commit(LONG_MS)
    assert len(group.told) == len(runs[0].drawn)
    assert sum(interval.unseen for _, interval in group.told) == 9


def test_a_partial_sum_is_cut_into_messages_that_a_broker_takes_and_nothing_changes(runs):
    (run,) = (run for run in runs if run.origin.host == "web-1")  # its ring lost events
    sums = PartialSums(CHOICE, 10**10)
    for batch in run.batches:
        sums.add(batch, 5)
    for report in run.reports:
        sums.report(report, 5)
    (whole,) = sums.take()
    assert whole.charged
    found = []
    for most_bytes in (1 << 30, 9_000, 2_500):
        parts = [part for _, part in whole.by_charts()]
        messages = [value for part in parts for value in part.messages({"by": {}}, most_bytes)]
        assert len(messages) == len(parts) or max(map(len, messages)) <= most_bytes
        told: list[Interval] = []
        closing = Closing(run.origin, CHOICE)
        for message in messages:
            closing.add(Partial.from_map(msgpack.unpackb(message)))
            told += closing.close(0)
        found.append(([drawn_of(run.origin, interval) for interval in told], closing.again))
    assert found[0][0] == run.drawn
    assert found[1] == found[2] == found[0]


@pytest.mark.parametrize("pace", [20, 60])
def test_a_quiet_host_has_no_late_events_where_members_are_hours_apart(pace):
    """One member reads hours of it at once, the other a little at a time."""
    run = Run(tasks=900, seconds=12 * 3600, every_s=60, commands=3, step_ns=20 * 10**9)
    sorted_ = {number: sorted(values, key=boot_ns_of) for number, values in events([run]).items()}
    group = Group(sorted_, CHOICE)
    fast, slow = group.join(), group.join()
    for place in group.messages:
        (slow if place[1] == 1 else fast).gain(place)
    for now_ms in range(1_790_000_000_000, 1_790_000_000_000 + 100_000, 1000):
        for member, most in ((fast, 1 << 30), (slow, pace)):
            member.read(most, now_ms, waits=True)
            member.commit(now_ms)
    told = [(interval.end_ns, interval.counts) for _, interval in group.told]
    assert told == [(interval.end_ns, interval.counts) for interval in run.intervals]
    totals = [member.share.totals for member in group.members]
    assert sum(one.late + one.unreported + one.missing for one in totals) == 0
    assert sum(one.events for one in totals) == 3600


def test_partial_sums_are_keyed_by_host_and_charts_and_those_of_a_host_lie_together(runs):
    counts = {TOPICS.events: 1, TOPICS.partials: HOMES}
    share = Share(TOPICS, counts, CHOICE, Keeper(), late_s=10)
    share.gain(TOPICS.events, 0, {})
    for run in runs:
        for values in run.partitions("batch").values():
            share.take(TOPICS.events, 0, values, 5)
    sent = [m for m in share.turn({0: 5}, progress=False) if m.topic == TOPICS.partials]
    homes = defaultdict(set)
    for message in sent:
        host, _, charts = message.key.decode().partition("/")
        homes[host].add(message.partition)
        map_ = msgpack.unpackb(message.value, strict_map_key=False)
        assert map_["host"] == host
        found = {d for which in ("cells", "charged") for _, cell in map_[which] for d in cell}
        system = {"host", "errno", "status", "signal", "lifetime"}
        assert found <= ({charts} if charts != "system" else system)
        assert bool(map_["reports"]) <= (charts == "system")
    assert {m.key for m in sent} >= {b"web-1/system", b"web-1/app", b"web-1/user"}
    assert {len(found) for found in homes.values()} == {1}
    last = {m.key.partition(b"/")[0]: m.key.partition(b"/")[2] for m in sent}
    assert set(last.values()) == {b"system"}


def test_windows_are_those_of_one_reader_alone(runs):
    group = Group(events(runs), CHOICE, window_s=3)
    group.join()
    group.join()
    group.share_out(np.random.default_rng(2))
    finish(group)
    keeper, _ = recount(
        [chunk for run in runs for chunk in run.partitions("event").items()], window_s=3
    )
    assert drawn(group).drawn == keeper.drawn


def test_members_that_count_by_different_things_say_so(runs):
    group = Group(events(runs), CHOICE)
    group.join()
    group.share_out(np.random.default_rng(3))
    finish(group)
    group.kill(group.members[0])
    group.choice = Choice(users=True)
    with pytest.raises(ConfigError, match=r"here users, limit 1000.*elsewhere apps, cgroups"):
        group.join().gain((TOPICS.partials, 1))


def test_a_run_that_fell_silent_is_closed_and_then_forgotten_also_in_the_changelogs(runs):
    killed = runs[0]
    whole = defaultdict(list)
    for place, values in killed.partitions("event").items():
        whole[place.partition] += values[: len(values) // 2]
    group = Group(dict(whole), CHOICE)
    member = group.join()
    group.share_out(np.random.default_rng(4))
    for now_ms in (5, 6, 61_000, 61_001, 61_002):
        member.read(1 << 30, now_ms)
        member.commit(now_ms)
    events_told = sum(sum(interval.counts) for _, interval in group.told)
    assert events_told > 0
    assert not group.told[-1][1].exact
    assert any(group.kept.values())
    for _ in range(3):
        member.read(1 << 30, LONG_MS)
        member.commit(LONG_MS)
    assert not any(group.kept.values())


def test_a_member_that_loses_a_partition_forgets_its_hosts_and_one_that_goes_back_does_not(runs):
    group = Group(events(runs), CHOICE)
    member = group.join()
    group.share_out(np.random.default_rng(1))
    finish(group)
    member.abort(5)
    assert not member.forgotten
    for place in sorted(member.places):
        member.lose(place)
    assert member.forgotten == {run.origin for run in runs}
