"""Every chart that is drawn from counts of events."""

from collections.abc import Iterator

from taskstream.chart.chart import Chart, Dimension, Formula

__all__ = ["CHARTS"]

_FORKS = ("fork_process", "fork_thread")
_EXITS = ("exit_thread", "exit_process")


def _each(*names: str, per_second: bool = True, **more: int) -> Formula:
    return Formula({**dict.fromkeys(names, 1), **more}, per_second)


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
