"""Topics judged: what fits is silent, what does not says its effect and its repair."""

from dataclasses import replace

import pytest

from taskstream.fleet_topic import ChangelogPlan, PartialsPlan
from taskstream.topic import TopicPlan, TopicState, judge

PLAN = TopicPlan()
FITS = TopicState(
    name="t",
    brokers=3,
    copies=(3, 3, 3, 3),
    in_sync=(3, 3, 3, 3),
    config={**PLAN.config(3), **PLAN.newer_config(), "max.message.bytes": "1048588"},
)


def with_config(name: str, value: str) -> TopicState:
    return replace(FITS, config={**FITS.config, name: value})


def test_a_topic_as_it_should_be_has_no_misfit():
    assert judge(PLAN, FITS) == []


@pytest.mark.parametrize("brokers", [1, 2, 3, 5])
def test_a_topic_made_by_the_plan_fits_the_plan(brokers):
    copies = PLAN.copies_on(brokers)
    made = replace(
        FITS,
        brokers=brokers,
        copies=(copies,) * 4,
        in_sync=(copies,) * 4,
        config=PLAN.config(copies),
    )
    assert judge(PLAN, made) == []
    assert (copies, int(made.config["min.insync.replicas"])) == {
        1: (1, 1), 2: (2, 1), 3: (3, 2), 5: (3, 2)
    }[brokers]  # fmt: skip


@pytest.mark.parametrize("plan", [PartialsPlan(), ChangelogPlan()])
def test_topics_of_a_group_fit_their_plan_and_their_times_are_the_brokers_own(plan):
    made = replace(FITS, config={**plan.config(3), "message.timestamp.after.max.ms": "3600000"})
    assert judge(plan, made) == []
    for policy in {"compact", "delete", "compact,delete"} - {plan.policy}:
        spoilt = replace(made, config={**made.config, "cleanup.policy": policy})
        (misfit,) = judge(plan, spoilt)
        assert (misfit.what, misfit.found, misfit.wanted) == ("cleanup.policy", policy, plan.policy)
        assert misfit.repair.endswith(f"--add-config cleanup.policy={plan.policy}")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("min.insync.replicas", "1", "2"),
        ("cleanup.policy", "compact", "delete"),
        ("cleanup.policy", "compact,delete", "delete"),
        ("max.message.bytes", "100000", "1000000"),
        ("message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("compression.type", "gzip", "producer"),
        ("retention.ms", "3600000", "604800000"),
        ("retention.bytes", "1000000", "-1"),
        ("message.timestamp.after.max.ms", "3600000", "9223372036854775807"),
        ("message.timestamp.before.max.ms", "86400000", "604800000"),
        ("message.timestamp.difference.max.ms", "3600000", "9223372036854775807"),
    ],
)
def test_a_setting_that_does_not_fit_says_what_to_do(name, value, wanted):
    (misfit,) = judge(PLAN, with_config(name, value))
    assert (misfit.what, misfit.found, misfit.wanted) == (name, value, wanted)
    assert f"--entity-name t --add-config {name}={wanted}" in misfit.line()


@pytest.mark.parametrize(("name", "value"), [("retention.ms", "-1"), ("retention.ms", "604800001")])
def test_events_may_be_kept_longer_than_planned(name, value):
    assert judge(PLAN, with_config(name, value)) == []


@pytest.mark.parametrize(
    ("name", "bound_ms", "told"),
    [
        ("after", 3_600_000, "events of a host whose clock is 1 h ahead will be rejected"),
        ("after", 5_400_000, "events of a host whose clock is 1.5 h ahead will be rejected"),
        ("before", 86_400_000, "events 24 h old, of a spool or a replay, will be rejected"),
    ],
)
def test_a_bound_of_timestamps_says_whose_events_will_be_rejected(name, bound_ms, told):
    state = with_config(f"message.timestamp.{name}.max.ms", str(bound_ms))
    (misfit,) = judge(PLAN, state)
    assert misfit.effect == told


def test_events_need_not_be_taken_when_they_are_older_than_the_topic_keeps_them():
    name = "message.timestamp.before.max.ms"
    assert judge(PLAN, with_config(name, "604800000")) == []
    for_ever = replace(PLAN, retention_ms=-1)
    kept = replace(FITS, config={**FITS.config, "retention.ms": "-1", name: "604800000"})
    assert [m.what for m in judge(for_ever, kept)] == [name]


def test_timestamps_have_no_bound_where_the_broker_sets_them():
    config = {"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "0"}
    state = replace(FITS, config={**FITS.config, **config})
    assert [m.what for m in judge(PLAN, state)] == ["message.timestamp.type"]


def test_more_replicas_wanted_in_step_than_there_are_is_told():
    lonely = replace(FITS, copies=(1,) * 4, in_sync=(1,) * 4)
    assert [(m.what, m.found, m.wanted) for m in judge(PLAN, lonely)] == [
        ("replication", "1", "3"),
        ("min.insync.replicas", "2", "1"),
    ]


def test_too_few_partitions_and_replicas_out_of_step_are_told():
    behind = replace(FITS, copies=(3, 3, 3), in_sync=(3, 2, 3))
    assert [(m.what, m.found) for m in judge(PLAN, behind)] == [
        ("partitions", "3"),
        ("replicas in step", "missing in 1 of 3 partitions"),
    ]


def test_what_may_not_be_read_is_not_judged():
    assert judge(PLAN, replace(FITS, config={})) == []
