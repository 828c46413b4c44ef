"""What Netdata is told is its protocol, and whole: a chart is defined before it has values."""

import re
import shlex
from collections import Counter
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from taskstream.chart.chart import SCOPES
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.record import COUNTS
from taskstream.sink.netdata import ALIVE_NS, NetdataCharts, clean_name

SECOND = 10**9
SERIES = Series(tuple(range(10, 10 + len(COLUMNS))), (0,) * len(COLUMNS))


def interval(end_s: int = 10, *, seconds: int = 5, **groups: dict[str, Series]) -> Interval:
    return Interval(
        start_ns=(end_s - seconds) * SECOND,
        end_ns=end_s * SECOND,
        wall_ns=0,
        counts=tuple(range(1, len(COUNTS) + 1)),
        received=(0,) * len(COUNTS),
        groups=groups,
        zombies=Zombies(2, 1_234_567_890),
        agent=Agent(cpu_ns=1, resident_bytes=2 << 20, queued=3, dropped=4, forgotten=5),
    )


EVERYTHING = interval(
    **{scope.groups: {"a": SERIES, "b": SERIES} for scope in SCOPES.values() if scope.groups}
)


class Reader:
    """Reads the protocol as Netdata does, and refuses what it would refuse.

    The second collection of a chart is dated by Netdata's own clock: right behind the first it is
    not stored.

    Attributes:
        charts: The words of each CHART line, by id.
        labels: The label of each chart that has one.
        dimensions: The words of each DIMENSION line, by chart and name.
        values: What is drawn, by chart, dimension and time.
    """

    def __init__(self) -> None:
        self.charts: dict[str, list[str]] = {}
        self.labels: dict[str, tuple[str, str]] = {}
        self.dimensions: dict[tuple[str, str], list[str]] = {}
        self.values: dict[str, dict[str, list[float]]] = {}
        self.begun: dict[str, list[str]] = {}
        self._chart = self._open = ""
        self._collections: Counter[str] = Counter()

    def read(self, text: str) -> "Reader":
        for line in text.splitlines():
            words = shlex.split(line.replace("=", " "))
            assert len(words) <= 30
            if words:
                getattr(self, words[0].lower())(*words[1:])
        assert not self._open
        return self

    def chart(self, id_: str, *words: str) -> None:
        assert re.fullmatch(r"[^.\s]+\.[^\s]+", id_)
        assert len(words) == 11
        self._chart = id_
        if "obsolete" in words:
            del self._collections[id_]
        self.charts[id_] = list(words)

    def clabel(self, name: str, value: str, source: str) -> None:
        assert source in "1248"
        self.labels[self._chart] = name, value

    def clabel_commit(self) -> None:
        assert self._chart in self.labels

    def dimension(self, id_: str, name: str, algorithm: str, multiplier: str, divisor: str) -> None:
        assert algorithm == "absolute"
        self.dimensions[self._chart, id_] = [multiplier, divisor]

    def begin(self, id_: str, *microseconds: str) -> None:
        assert id_ in self.charts
        assert not self._open
        self._open = id_
        self._collections[id_] += 1
        if self._collections[id_] != 2:
            self.begun.setdefault(id_, []).append(*microseconds or [""])

    def set(self, name: str, value: str) -> None:
        multiplier, divisor = self.dimensions[self._open, name]
        if self._collections[self._open] == 2:
            return
        drawn = int(value) * int(multiplier) / int(divisor)
        self.values.setdefault(self._open, {}).setdefault(name, []).append(drawn)

    def end(self) -> None:
        assert self._open
        self._open = ""


def written(*intervals: Interval, every_s: int = 5, **options: Any) -> str:
    out = StringIO()
    charts = NetdataCharts(every_s, lambda: 0, out=out, **options)
    for one in intervals:
        charts.interval(one)
    return out.getvalue()


def read(*intervals: Interval, **options: Any) -> Reader:
    return Reader().read(written(*intervals, **options))


# --- definitions ---------------------------------------------------------------------------------


def test_every_chart_is_defined_with_what_the_table_says():
    found = read(EVERYTHING)
    by_context = {words[4]: words for words in found.charts.values()}
    for chart in CHARTS:
        words = by_context[chart.context]
        assert words == [
            "",
            chart.title,
            chart.unit,
            chart.family,
            chart.context,
            chart.kind,
            str(chart.priority),
            "5",
            "store_first",
            "taskstream.plugin",
            "processes",
        ]


@pytest.mark.parametrize(
    ("context", "ids"),
    [
        ("system.process_thread", ["system.process_thread"]),
        ("app.process_create", ["app.a_process_create", "app.b_process_create"]),
        ("cgroup.task_exit", ["cgroup_a.task_exit", "cgroup_b.task_exit"]),
        ("services.task_close", ["services.task_close"]),
        ("taskstream.exit_signal", ["taskstream.exit_signal"]),
    ],
)
def test_a_chart_has_the_id_that_netdata_gives_it(context, ids):
    found = read(EVERYTHING)
    assert [id_ for id_, words in found.charts.items() if words[4] == context] == ids


def test_charts_of_groups_carry_the_documented_label():
    found = read(EVERYTHING)
    assert found.labels["app.a_task_error"] == ("app_group", "a")
    assert found.labels["cgroup_b.process_create"] == ("cgroup_name", "b")
    assert "services.task_error" not in found.labels


def test_a_chart_is_defined_once():
    text = written(interval(app={"web": SERIES}), interval(15, app={"web": SERIES}))
    assert text.count("CHART app.web_process_create ") == 1


def test_a_dimension_that_comes_later_is_defined_then():
    first = interval(service={"cron": SERIES})
    found = read(first, interval(15, service={"cron": SERIES, "sshd": SERIES}))
    assert found.values["services.process_create"] == {"cron": [2.0, 2.0], "sshd": [2.0]}


def test_a_group_that_is_charted_no_more_is_retired_and_may_come_back():
    web = {"web": SERIES}
    found = Reader()
    text = written(interval(app=web), interval(15, app={"db": SERIES}), interval(20, app=web))
    found.read(text)
    states = re.findall(r"^CHART app\.web_task_exit .*'(obsolete|store_first)'", text, re.M)
    assert states == ["store_first", "obsolete", "store_first"]


def test_charts_of_a_dimension_that_nobody_counts_any_more_are_retired():
    text = written(interval(app={"web": SERIES}), interval(15), interval(20, app={"web": SERIES}))
    Reader().read(text)
    states = re.findall(r"^CHART app\.web_task_exit .*'(obsolete|store_first)'", text, re.M)
    assert states == ["store_first", "obsolete", "store_first"]


def test_two_groups_of_one_clean_name_have_a_chart_each():
    found = read(interval(app={"Web": SERIES, "web": SERIES}))
    assert found.labels["app.web_process_create"] == ("app_group", "Web")
    assert found.labels["app.web_process_create_2"] == ("app_group", "web")


@pytest.mark.parametrize(
    ("group", "clean"),
    [
        ("web", "web"),
        ("My Web", "my_web"),
        ("a.b/c-d", "a_b/c-d"),
        ("a\\b", "a/b"),
        ("é'\"", "___"),
    ],
)
def test_a_name_is_cleaned_as_netdata_does(group, clean):
    assert clean_name(group) == clean


@pytest.mark.parametrize(
    "name", ["it's", 'a"b', "a b", "a\nb", "\x1b[2J", "\x9b", "a = b", "a\\", "é", "-", "#"]
)
def test_any_name_is_one_word_to_netdata(name):
    found = read(interval(app={name: SERIES}, service={name: SERIES}))
    ((_, value),) = [found.labels[id_] for id_ in found.labels if id_.endswith("_task_exit")]
    assert len(found.values["services.task_exit"]) == 1
    assert value.isprintable()


# --- values --------------------------------------------------------------------------------------


def test_values_are_those_of_the_charts():
    found = read(EVERYTHING)
    assert found.values["system.process_thread"] == {"process": [0.2], "thread": [0.4]}
    assert found.values["app.a_process_create"] == {"calls": [2.0]}
    assert found.values["services.task_exit"] == {"a": [5.4], "b": [5.4]}
    assert found.values["taskstream.zombie_age"] == {"oldest": [1.235]}
    assert found.values["taskstream.agent_memory"] == {"resident": [2.0]}


@pytest.mark.parametrize("every_s", [1, 3, 7, 60])
def test_a_rate_times_the_interval_is_exactly_the_number_of_events(every_s):
    found = read(interval(every_s * 10, seconds=every_s, app={"web": SERIES}), every_s=every_s)
    (rate,) = found.values["app.web_task_exit"]["call"]
    assert rate * every_s == pytest.approx(27, abs=1e-12)
    text = written(interval(every_s * 10, seconds=every_s, app={"web": SERIES}), every_s=every_s)
    assert f"BEGIN app.web_task_exit\nSET 'call' = {27 * 1000}\n" in text


def test_netdatas_formulas_are_drawn_undivided():
    found = read(EVERYTHING, semantics="netdata")
    assert found.values["app.a_process_create"] == {"calls": [33.0]}
    assert found.values["system.exit"]["task"] == [-6.0]
    assert found.values["services.process_create"]["a"] == [6.6]


def test_an_interval_says_how_long_after_the_one_before_it_ended():
    found = read(interval(10), interval(15), interval(25), interval(30))
    assert found.begun["system.exit"] == ["", "5000000", "10000000", "5000000"]


def test_a_chart_that_comes_later_begins_without_a_time():
    found = read(interval(10), interval(15, app={"web": SERIES}))
    assert found.begun["app.web_task_exit"] == [""]


def test_what_netdata_dates_by_its_own_clock_is_zeros_right_behind_the_first_collection():
    text = written(interval(service={"cron": SERIES}), interval(15, service={"cron": SERIES}))
    begun = re.findall(r"^BEGIN services.process_create(.*)\nSET 'cron' = (\d+)\nEND$", text, re.M)
    assert begun == [("", "10000"), (" 1", "0"), (" 5000000", "10000")]
    first, second, _ = (m.start() for m in re.finditer("BEGIN services.process_create", text))
    assert text[first:second].count("BEGIN") == 1


def test_the_part_of_an_interval_that_a_run_ends_with_is_not_told():
    assert written(replace(interval(10), end_ns=10 * SECOND + 1)) == ""


# --- the pipe ------------------------------------------------------------------------------------


def test_an_interval_is_written_in_one_go():
    class Once(StringIO):
        flushes = 0

        def flush(self) -> None:
            self.flushes += 1

    out = Once()
    NetdataCharts(5, lambda: 0, out=out).interval(EVERYTHING)
    assert out.flushes == 1
    assert out.getvalue().endswith("END\n")


def test_netdata_hears_of_us_at_least_every_minute():
    now = [0]
    out = StringIO()
    charts = NetdataCharts(3600, lambda: now[0], out=out)
    for now[0] in range(0, 10 * ALIVE_NS, ALIVE_NS // 4):
        charts.progress(lambda: None, 0)
    assert out.getvalue() == "\n" * 9
