"""The charts: one table of what is drawn, from which counts, by which formula.

Pure: no I/O, no clock. Contexts, titles, units, families and dimensions are those of Netdata's
"eBPF Processes" document. Each dimension has two formulas: what the document says it means, and
what Netdata's own code (1.44) computes. ``docs/charts.md`` is checked against this table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from taskstream.interval import COLUMNS, Interval, Series
from taskstream.record import COUNTS

__all__ = [
    "CHARTS",
    "DOCUMENTED",
    "NETDATA",
    "SCOPES",
    "STATES",
    "Chart",
    "Dimension",
    "Drawing",
    "Formula",
    "Scope",
    "State",
    "draw",
]

DOCUMENTED, NETDATA = "documented", "netdata"
"""The two kinds of formulas, as option ``chart semantics`` names them."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A sum of counts.

    Attributes:
        terms: How many times each count of `COLUMNS` is taken.
        per_second: Whether it is divided by the length of the interval.
    """

    terms: Mapping[str, int]
    per_second: bool = True

    def of(self, counts: Mapping[str, int]) -> int:
        """Return the sum, undivided."""
        return sum(times * counts[name] for name, times in self.terms.items())

    @property
    def text(self) -> str:
        """What it computes, for people."""
        signs = {1: "+", -1: "−"}  # noqa: RUF001  (a minus sign)
        parts = "".join(f" {signs[times]} `{name}`" for name, times in self.terms.items())
        return parts.removeprefix(" + ").strip() + (" per second" if self.per_second else "")


def _each(*names: str, per_second: bool = True, **more: int) -> Formula:
    return Formula({**dict.fromkeys(names, 1), **more}, per_second)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One line of a chart.

    Attributes:
        name: As documented; empty where there is one for each group.
        documented: What the document says.
        netdata: What Netdata's code computes.
    """

    name: str
    documented: Formula
    netdata: Formula

    def formula(self, semantics: str) -> Formula:
        """Return the formula of ``documented`` or ``netdata``."""
        return self.netdata if semantics == NETDATA else self.documented


@dataclass(frozen=True, slots=True)
class Scope:
    """Of what there is a chart, or a dimension, each.

    Attributes:
        groups: Dimension of `Interval.groups`; empty for the host as a whole.
        label: Label that names the group of a chart; empty where the groups are dimensions.
    """

    groups: str = ""
    label: str = ""


SCOPES = {
    "system": Scope(),
    "app": Scope("app", "app_group"),
    "cgroup": Scope("cgroup", "cgroup_name"),
    "services": Scope("service"),
    "command": Scope("command", "command"),
    "user": Scope("user", "uid"),
    "errno": Scope("errno"),
    "status": Scope("status"),
    "signal": Scope("signal"),
    "lifetime": Scope("lifetime"),
    "state": Scope(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        context: Its name, ``scope.what`` where it is documented.
        scope: Key of `SCOPES`.
        title: As documented.
        unit: As documented.
        family: Netdata's menu.
        priority: Netdata's order.
        kind: line, stacked or heatmap.
        dimensions: One for all groups where each group is a dimension.
        failures: It is drawn only where failed calls are watched (load mode ``return``).
        documented: It is a chart of the integration document.
    """

    context: str
    scope: str
    title: str
    unit: str
    family: str
    priority: int
    kind: str
    dimensions: tuple[Dimension, ...]
    failures: bool = False
    documented: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(dimension.name for dimension in self.dimensions)


_FORKS = ("fork_process", "fork_thread")
_EXITS = ("exit_thread", "exit_process")

_CREATED = _each("fork_process"), _each(*_FORKS, "exec")
_THREADS = _each("fork_thread"), _each(*_FORKS, fork_by_init=-1)
_EXITED = _each(*_EXITS), _each(*_EXITS)
_FREED = _each("free"), _each("free")
_FAILED = _each("fail_create"), _each("fail_create")


def _whole(formula: Formula) -> Formula:
    return Formula(formula.terms, per_second=False)


def _undivided(pair: tuple[Formula, Formula]) -> tuple[Formula, Formula]:
    """Return a pair whose second is per interval: Netdata 1.44 does not divide there."""
    return pair[0], _whole(pair[1])


def _system(
    name: str, title: str, unit: str, priority: int, *dimensions: Dimension, failures: bool = False
) -> Chart:
    return Chart(
        context=f"system.{name}",
        scope="system",
        title=title,
        unit=unit,
        family="processes",
        priority=priority,
        kind="line",
        dimensions=dimensions,
        failures=failures,
    )


_SYSTEM = (
    _system(
        "process_thread",
        "Start process",
        "calls/s",
        21002,
        Dimension("process", *_undivided(_CREATED)),
        Dimension("thread", *_undivided(_THREADS)),
    ),
    _system(
        "process_status",
        "Process not closed",
        "difference",
        21004,
        Dimension(
            "process",
            _each("fork_process", exit_process=-1, per_second=False),
            _each("exec", "fork_by_init", per_second=False),
        ),
        Dimension("zombie", *[_each(*_EXITS, free=-1, per_second=False)] * 2),
    ),
    _system(
        "exit",
        "Exit process",
        "calls/s",
        21003,
        Dimension("process", *_undivided(_EXITED)),
        Dimension("task", _FREED[0], Formula({"free": -1}, per_second=False)),
    ),
    _system(
        "task_error",
        "Fails to create process",
        "calls/s",
        21005,
        Dimension("task", *_undivided(_FAILED)),
        failures=True,
    ),
)

_WHATS = {
    "process_create": ("Process started", _CREATED),
    "thread_create": ("Threads started", _THREADS),
    "task_exit": ("Tasks starts exit process", _EXITED),
    "task_close": ("Tasks closed", _FREED),
    "task_error": ("Errors to create process or threads", _FAILED),
}
"""The five charts that every group has: title, and formulas as they are where both divide."""


def _five(
    scope: str,
    names: tuple[str, str, str, str, str],
    *,
    family: str,
    priority: int,
    kind: str,
    documented: bool = True,
) -> Iterator[Chart]:
    for order, ((what, (title, pair)), name) in enumerate(zip(_WHATS.items(), names, strict=True)):
        if scope == "app":  # absolute in 1.44
            pair = _undivided(pair)
        if scope == "cgroup" and what == "task_exit":  # it publishes the wrong counter
            pair = pair[0], _FREED[1]
        yield Chart(
            context=f"{scope}.{what}",
            scope=scope,
            title=title,
            unit="calls/s",
            family=family,
            priority=priority + order,
            kind=kind,
            dimensions=(Dimension(name, *pair),),
            failures=what == "task_error",
            documented=documented,
        )


def _ours(context: str, scope: str, title: str, unit: str, priority: int, count: str) -> Chart:
    formula = _each(count)
    return Chart(
        context=f"taskstream.{context}",
        scope=scope,
        title=title,
        unit=unit,
        family="taskstream",
        priority=priority,
        kind="heatmap" if scope == "lifetime" else "stacked",
        dimensions=(Dimension("", formula, formula),),
        failures=scope == "errno",
        documented=False,
    )


_SAME_FIVE = ("process", "thread", "exit", "close", "error")

CHARTS: tuple[Chart, ...] = (
    *_SYSTEM,
    *_five(
        "app",
        ("calls", "call", "call", "call", "app"),
        family="processes",
        priority=20161,
        kind="stacked",
    ),
    *_five(
        "cgroup",
        ("process", "thread", "exit", "process", "process"),
        family="processes (eBPF)",
        priority=45000,
        kind="line",
    ),
    *_five("services", ("",) * 5, family="process (eBPF)", priority=20065, kind="stacked"),
    *_five("command", _SAME_FIVE, family="commands", priority=90100, kind="line", documented=False),
    *_five("user", _SAME_FIVE, family="users", priority=90200, kind="line", documented=False),
    _ours("create_failures", "errno", "Failed creations by errno", "calls/s", 90001, "fail_create"),
    _ours("exec_failures", "errno", "Failed execs by errno", "calls/s", 90002, "fail_exec"),
    _ours("exit_status", "status", "Ended processes by status", "processes/s", 90003, _EXITS[1]),
    _ours("exit_signal", "signal", "Killed processes by signal", "processes/s", 90004, _EXITS[1]),
    _ours("lifetime", "lifetime", "Ended processes by lifetime", "processes/s", 90005, _EXITS[1]),
)
"""Every chart that is drawn from counts."""


@dataclass(frozen=True, slots=True)
class State:
    """A chart of what is not a sum of counts.

    Attributes:
        chart: Its description; without dimensions.
        values: What is drawn, by dimension; None where there is none.
        needs: The member of `Interval` without which there is nothing to draw.
    """

    chart: Chart
    values: Mapping[str, Callable[[Interval], float | None]]
    needs: str = "counts"


def _state(
    context: str,
    title: str,
    unit: str,
    priority: int,
    needs: str,
    **values: Callable[[Interval], float | None],
) -> State:
    chart = Chart(
        context=f"taskstream.{context}",
        scope="state",
        title=title,
        unit=unit,
        family="taskstream",
        priority=priority,
        kind="line",
        dimensions=(),
        documented=False,
    )
    return State(chart, values, needs)


STATES: tuple[State, ...] = (
    _state(
        "zombies",
        "Processes that exited and are not released",
        "processes",
        90006,
        "zombies",
        zombies=lambda interval: interval.zombies.level if interval.zombies else 0,
    ),
    _state(
        "zombie_age",
        "Age of the oldest of them",
        "seconds",
        90007,
        "zombies",
        oldest=lambda interval: interval.zombies.oldest_ns / 1e9 if interval.zombies else 0,
    ),
    _state(
        "lost",
        "Events lost by cause",
        "events",
        90008,
        "agent",
        ring=lambda interval: interval.lost(),
        skipped=lambda interval: sum(interval.missed.values()),
        dropped=lambda interval: _dropped(interval),
        spool_dropped=lambda interval: _of_spool(interval, "spool_dropped"),
        spool_damaged=lambda interval: _of_spool(interval, "spool_damaged"),
    ),
    _state(
        "uncharged",
        "Lost events without a process, counted in other",
        "events",
        90012,
        "agent",
        uncharged=lambda interval: interval.agent.since("uncharged") if interval.agent else 0,
    ),
    _state(
        "agent_cpu",
        "CPU of the agent, of one core",
        "percentage",
        90009,
        "agent",
        cpu=lambda interval: _share(interval),
    ),
    _state(
        "agent_memory",
        "Resident memory of the agent",
        "MiB",
        90010,
        "agent",
        resident=lambda interval: interval.agent.resident_bytes / 2**20 if interval.agent else 0,
    ),
    _state(
        "agent_queue",
        "Messages that are not acknowledged",
        "messages",
        90011,
        "agent",
        queued=lambda interval: interval.agent.queued if interval.agent else 0,
    ),
    _state(
        "agent_ring",
        "Ring at its fullest, of its size",
        "percentage",
        90013,
        "agent",
        ring_fill=lambda interval: 100 * interval.agent.ring_fill if interval.agent else 0,
    ),
    _state(
        "agent_spool",
        "Spool, of the size that it may have",
        "percentage",
        90014,
        "agent",
        spool_fill=lambda interval: _percent(interval.agent.spool_fill if interval.agent else None),
    ),
)
"""Every chart that is drawn from something else."""


def _dropped(interval: Interval) -> int:
    """Return the events that were dropped for want of room in the queue."""
    if interval.agent is None:
        return 0
    of_spool = interval.agent.since("spool_dropped") + interval.agent.since("spool_damaged")
    return interval.agent.since("dropped") - of_spool


def _of_spool(interval: Interval, name: str) -> int | None:
    """Return what a spool lost in the interval; None without one."""
    if interval.agent is None or interval.agent.spool_fill is None:
        return None
    return interval.agent.since(name)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _share(interval: Interval) -> float:
    """Return the agent's CPU time as a share of the interval, in percent."""
    if interval.agent is None or interval.agent.before is None or not interval.seconds:
        return 0.0
    return interval.agent.since("cpu_ns") / 1e7 / interval.seconds


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart of one interval and one group.

    Attributes:
        chart: Which.
        group: Of which group; empty where the chart is of the host, or has one dimension each.
        counts: Sum of the counts of the interval by dimension, undivided; empty for a `State`.
        totals: The same since the start of the run; None where the chart is of the host.
        values: What is drawn, by dimension.
    """

    chart: Chart
    group: str
    counts: Mapping[str, int]
    totals: Mapping[str, int] | None
    values: Mapping[str, float]


def draw(interval: Interval, semantics: str = DOCUMENTED) -> Iterator[Drawing]:
    """Draw the charts of an interval, in the order of the table.

    A chart of calls that were not watched is absent, as is one of groups that nobody counted.

    Args:
        interval: What happened.
        semantics: ``documented`` or ``netdata``.
    """
    for chart in CHARTS:
        if chart.failures and not interval.failures_watched:
            continue
        scope = SCOPES[chart.scope]
        if not scope.groups:
            yield _drawing(chart, "", {"": _host(interval)}, interval, semantics)
        elif scope.groups in interval.groups:
            groups = interval.groups[scope.groups]
            if scope.label:
                for group, series in groups.items():
                    yield _drawing(chart, group, {"": series}, interval, semantics)
            else:
                yield _drawing(chart, "", groups, interval, semantics)
    for state in STATES:
        if getattr(interval, state.needs) is not None:
            found = {name: value(interval) for name, value in state.values.items()}
            values = {name: float(value) for name, value in found.items() if value is not None}
            if values:
                yield Drawing(state.chart, "", {}, None, values)


def _drawing(
    chart: Chart, group: str, of: Mapping[str, Series], interval: Interval, semantics: str
) -> Drawing:
    """Draw each dimension of each series; one of the two is one."""
    seconds = interval.seconds if interval.end_ns > interval.start_ns else 0.0
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    values: dict[str, float] = {}
    for key, series in of.items():
        window = dict(zip(COLUMNS, series.window, strict=True))
        total = dict(zip(COLUMNS, series.total, strict=True))
        for dimension in chart.dimensions:
            name = dimension.name or key
            formula = dimension.formula(semantics)
            counts[name] = formula.of(window)
            totals[name] = formula.of(total)
            if not formula.per_second:
                values[name] = float(counts[name])
            else:
                values[name] = counts[name] / seconds if seconds else 0.0
    return Drawing(chart, group, counts, totals if SCOPES[chart.scope].groups else None, values)


def _host(interval: Interval) -> Series:
    """Return the counts of the host: the kernel's own, which no loss of events touches."""
    seen = interval.groups.get("host", {}).get("")
    by_init = seen.window[len(COUNTS) :] if seen else (0,) * (len(COLUMNS) - len(COUNTS))
    window = (*interval.counts, *by_init)
    return Series(window, (0,) * len(COLUMNS))
