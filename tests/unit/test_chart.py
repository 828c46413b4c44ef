"""The table of charts is the documented one, and each formula gives what a hand computes."""

from dataclasses import replace

import pytest

from taskstream.chart.chart import DOCUMENTED, NETDATA, SCOPES
from taskstream.chart.draw import Drawing, draw
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.record import COUNTS

SECOND = 10**9

# The integration document: chart, dimensions, unit.
DOCUMENT = {
    "system.process_thread": (["process"], "calls/s"),
    "system.process_status": (["process", "zombie"], "difference"),
    "system.exit": (["process"], "calls/s"),
    "system.task_error": (["task"], "calls/s"),
    "app.process_create": (["calls"], "calls/s"),
    "app.thread_create": (["call"], "calls/s"),
    "app.task_exit": (["call"], "calls/s"),
    "app.task_close": (["call"], "calls/s"),
    "app.task_error": (["app"], "calls/s"),
    "cgroup.process_create": (["process"], "calls/s"),
    "cgroup.thread_create": (["thread"], "calls/s"),
    "cgroup.task_exit": (["exit"], "calls/s"),
    "cgroup.task_close": (["process"], "calls/s"),
    "cgroup.task_error": (["process"], "calls/s"),
    "services.process_create": ([""], "calls/s"),
    "services.thread_create": ([""], "calls/s"),
    "services.task_close": ([""], "calls/s"),
    "services.task_exit": ([""], "calls/s"),
    "services.task_error": ([""], "calls/s"),
}
BUSY = {
    "fork_process": 50,
    "fork_thread": 20,
    "exec": 40,
    "exit_thread": 15,
    "exit_process": 45,
    "free": 58,
    "fail_create": 10,
    "fail_exec": 5,
    "fork_by_init": 5,
}


def series(counts: dict[str, int], *, times: int = 3) -> Series:
    window = tuple(counts.get(name, 0) for name in COLUMNS)
    return Series(window, tuple(times * n for n in window))


def interval(**groups: dict[str, Series]) -> Interval:
    return Interval(
        start_ns=0,
        end_ns=5 * SECOND,
        wall_ns=0,
        counts=tuple(BUSY[count.name] for count in COUNTS),
        received=(0,) * len(COUNTS),
        groups=groups,
    )


def drawn(found: Interval, semantics: str = DOCUMENTED) -> dict[tuple[str, str], Drawing]:
    return {(d.chart.context, d.group): d for d in draw(found, semantics)}


# --- the table -----------------------------------------------------------------------------------


def test_every_documented_chart_is_in_the_table_with_its_dimensions_and_unit():
    table = {chart.context: chart for chart in CHARTS}
    for context, (dimensions, unit) in DOCUMENT.items():
        assert set(dimensions) <= set(table[context].names), context
        assert table[context].unit == unit, context


def test_what_goes_for_documented_is_documented_and_nothing_else():
    assert {chart.context for chart in CHARTS if chart.documented} == set(DOCUMENT)


def test_no_two_charts_share_a_context_or_a_place():
    every = [*CHARTS, *(state.chart for state in STATES)]
    contexts = [chart.context for chart in every]
    places = [(chart.family, chart.priority) for chart in every]
    assert len(set(contexts)) == len(set(places)) == len(every)


def test_every_formula_is_made_of_counts():
    for chart in CHARTS:
        for dimension in chart.dimensions:
            for formula in (dimension.documented, dimension.netdata):
                assert set(formula.terms) <= set(COLUMNS)
                assert set(formula.terms.values()) <= {1, -1}


def test_charts_of_an_app_group_and_of_a_cgroup_carry_the_documented_label():
    assert SCOPES["app"].label == "app_group"
    assert SCOPES["cgroup"].label == "cgroup_name"
    assert SCOPES["services"].label == ""


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "values"),
    [
        ("system.process_thread", {"process": 10.0, "thread": 4.0}),
        ("system.process_status", {"process": 5.0, "zombie": 2.0}),
        ("system.exit", {"process": 12.0, "task": 11.6}),
        ("system.task_error", {"task": 2.0}),
        ("app.process_create", {"calls": 10.0}),
        ("app.thread_create", {"call": 4.0}),
        ("app.task_exit", {"call": 12.0}),
        ("app.task_close", {"call": 11.6}),
        ("app.task_error", {"app": 2.0}),
        ("cgroup.process_create", {"process": 10.0}),
        ("cgroup.thread_create", {"thread": 4.0}),
        ("cgroup.task_exit", {"exit": 12.0}),
        ("cgroup.task_close", {"process": 11.6}),
        ("cgroup.task_error", {"process": 2.0}),
        ("services.process_create", {"x": 10.0}),
        ("services.thread_create", {"x": 4.0}),
        ("services.task_exit", {"x": 12.0}),
        ("services.task_close", {"x": 11.6}),
        ("services.task_error", {"x": 2.0}),
    ],
)
def test_documented_values_are_those_computed_by_hand(context, values):
    groups = {name: {"x": series(BUSY)} for name in ("app", "cgroup", "service")}
    found = drawn(interval(**groups))
    group = "x" if context.split(".")[0] in ("app", "cgroup") else ""
    assert found[context, group].values == values


@pytest.mark.parametrize(
    ("context", "values"),
    [
        ("system.process_thread", {"process": 110.0, "thread": 65.0}),
        ("system.process_status", {"process": 45.0, "zombie": 2.0}),
        ("system.exit", {"process": 60.0, "task": -58.0}),
        ("system.task_error", {"task": 10.0}),
        ("app.process_create", {"calls": 110.0}),
        ("app.thread_create", {"call": 65.0}),
        ("app.task_exit", {"call": 60.0}),
        ("app.task_close", {"call": 58.0}),
        ("app.task_error", {"app": 10.0}),
        ("cgroup.process_create", {"process": 22.0}),
        ("cgroup.thread_create", {"thread": 13.0}),
        ("cgroup.task_exit", {"exit": 11.6}),
        ("cgroup.task_close", {"process": 11.6}),
        ("services.process_create", {"x": 22.0}),
        ("services.task_exit", {"x": 12.0}),
        ("services.task_close", {"x": 11.6}),
    ],
)
def test_netdatas_values_are_those_of_its_own_code(context, values):
    groups = {name: {"x": series(BUSY)} for name in ("app", "cgroup", "service")}
    found = drawn(interval(**groups, host={"": series(BUSY)}), NETDATA)
    group = "x" if context.split(".")[0] in ("app", "cgroup") else ""
    assert found[context, group].values == values


def test_a_drawing_has_the_counts_that_its_values_come_from():
    found = drawn(interval(app={"web": series(BUSY)}))["app.task_exit", "web"]
    assert (found.counts, found.totals) == ({"call": 60}, {"call": 180})
    assert drawn(interval())["system.exit", ""].totals is None


def test_each_group_of_a_labelled_scope_has_a_chart():
    found = drawn(interval(app={"web": series({"exec": 1}), "db": series({"fork_process": 5})}))
    assert found["app.process_create", "web"].values == {"calls": 0.0}
    assert found["app.process_create", "db"].values == {"calls": 1.0}


def test_each_service_is_a_dimension_of_one_chart():
    services = {"sshd": series({"free": 5}), "cron": series({"free": 10})}
    found = drawn(interval(service=services))
    assert found["services.task_close", ""].values == {"sshd": 1.0, "cron": 2.0}


def test_outcomes_are_dimensions():
    found = drawn(
        interval(
            errno={"EAGAIN": series({"fail_create": 10, "fail_exec": 5})},
            status={"0": series({"exit_process": 5})},
            signal={"SIGKILL": series({"exit_process": 20})},
            lifetime={"0.001": series({"exit_process": 15})},
        )
    )
    assert found["taskstream.create_failures", ""].values == {"EAGAIN": 2.0}
    assert found["taskstream.exec_failures", ""].values == {"EAGAIN": 1.0}
    assert found["taskstream.exit_status", ""].values == {"0": 1.0}
    assert found["taskstream.exit_signal", ""].values == {"SIGKILL": 4.0}
    assert found["taskstream.lifetime", ""].values == {"0.001": 3.0}


def test_charts_of_groups_that_nobody_counted_are_absent():
    assert {context.split(".")[0] for context, _ in drawn(interval())} == {"system"}


def test_charts_of_calls_that_were_not_watched_are_absent():
    groups = {name: {"x": series(BUSY)} for name in ("app", "cgroup", "service", "errno")}
    unwatched = interval(**groups)
    unwatched = Interval(
        start_ns=0,
        end_ns=SECOND,
        wall_ns=0,
        counts=unwatched.counts,
        received=unwatched.received,
        failures_watched=False,
        groups=groups,
    )
    assert not [context for context, _ in drawn(unwatched) if "error" in context]
    assert not [context for context, _ in drawn(unwatched) if "failures" in context]


# --- states --------------------------------------------------------------------------------------


def stated(**values: object) -> dict[str, dict[str, float]]:
    """Return the charts of states of an interval of two seconds."""
    found = Interval(
        start_ns=0,
        end_ns=2 * SECOND,
        wall_ns=0,
        counts=(7,) * len(COUNTS),
        received=(6,) * len(COUNTS),
        **values,
    )
    return {d.chart.context: d.values for d in draw(found) if d.chart.scope == "state"}


def agent(**values: float) -> Agent:
    known = {"cpu_ns": 0, "resident_bytes": 0, "queued": 0, "dropped": 0, "forgotten": 0}
    return Agent(**{**known, **values})


def test_zombies_are_a_level_and_an_age():
    drawn = stated(zombies=Zombies(3, 1_500_000_000))
    assert drawn["taskstream.zombies"] == {"zombies": 3.0}
    assert drawn["taskstream.zombie_age"] == {"oldest": 1.5}


def test_losses_are_told_by_cause_for_the_interval():
    now = replace(agent(dropped=11), before=agent(dropped=4))
    drawn = stated(agent=now, missed={"on_fork": 2, "on_exit": 3})
    assert drawn["taskstream.lost"] == {"ring": 8.0, "skipped": 5.0, "dropped": 7.0}


def test_what_a_spool_loses_is_told_by_cause_and_counted_once():
    now = agent(dropped=20, spool_fill=0.25, spool_dropped=9, spool_damaged=2)
    now = replace(now, before=agent(dropped=4, spool_fill=0.0, spool_dropped=1))
    lost = stated(agent=now)["taskstream.lost"]
    assert lost == {
        "ring": 8.0,
        "skipped": 0.0,
        "dropped": 6.0,
        "spool_dropped": 8.0,
        "spool_damaged": 2.0,
    }


def test_the_ring_and_the_spool_are_so_full():
    drawn = stated(agent=agent(ring_fill=0.5, spool_fill=0.25))
    assert drawn["taskstream.agent_ring"] == {"ring_fill": 50.0}
    assert drawn["taskstream.agent_spool"] == {"spool_fill": 25.0}


def test_without_a_spool_it_has_no_chart():
    assert "taskstream.agent_spool" not in stated(agent=agent())


def test_the_agents_cpu_is_a_share_of_one_core():
    now = replace(agent(cpu_ns=1_300_000_000), before=agent(cpu_ns=1_000_000_000))
    assert stated(agent=now)["taskstream.agent_cpu"] == {"cpu": 15.0}


def test_the_agents_memory_and_queue_are_levels():
    drawn = stated(agent=agent(resident_bytes=50 << 20, queued=12))
    assert drawn["taskstream.agent_memory"] == {"resident": 50.0}
    assert drawn["taskstream.agent_queue"] == {"queued": 12.0}


def test_a_table_of_losses_that_is_full_shows():
    now = replace(agent(uncharged=9), before=agent(uncharged=2))
    assert stated(agent=now)["taskstream.uncharged"] == {"uncharged": 7.0}


def test_what_nobody_asked_for_is_absent():
    assert stated() == {}
