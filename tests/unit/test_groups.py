"""Groups follow the files of the host: rules that change, processes that run already."""

import os
from pathlib import Path

import numpy as np
import pytest

from taskstream.batch import Batch
from taskstream.config.config import Config
from taskstream.errors import ConfigError
from taskstream.groups import Groups
from taskstream.source import cgroup_tree
from taskstream.source.proc import running_tasks
from tests.needs import go_without
from tests.synthetic import Event, batch, event

SECOND = 10**9


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's apps_groups.conf; it is not there yet."""
    monkeypatch.setenv("TASKSTREAM_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETDATA_USER_CONFIG_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("NETDATA_STOCK_CONFIG_DIR", str(tmp_path / "none"))
    return tmp_path / "apps_groups.conf"


def replace(file: Path, text: str) -> None:
    """Write a file as an editor does: a new one takes the place of the old."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def execs(comm: str, tgid: int = 7) -> Event:
    known = {"tgid": tgid, "pid": tgid, "old_pid": tgid, "process_start_ns": 5, "boot_ns": 1}
    return event("exec", comm=comm.encode(), **known)


def groups(said: list[str] | None = None, *running: Event, **options: bool) -> Groups:
    config = Config(update_every_s=1, apps=True, **options)
    tasks = batch(*running).records
    return Groups(config, (said if said is not None else []).append, lambda: tasks)


def apps(counting: Groups, *events: Event) -> dict[str, int]:
    """Count events, and return how many the interval had, by app group."""
    counting.add(batch(*events))
    closed, _ = counting.close(0, SECOND)
    return {name: sum(series.window) for name, series in closed["app"].items()}


def test_the_users_rules_are_read(rules):
    rules.write_text("web: nginx\n")
    assert apps(groups(), execs("nginx"), execs("ls")) == {"web": 1, "other": 1}


def test_without_the_users_rules_the_stock_ones_hold(rules):
    assert apps(groups(), execs("postgres")) == {"databases": 1}


def test_wrong_rules_are_told_at_the_start(rules):
    rules.write_text("web: 'nginx\n")
    with pytest.raises(ConfigError, match="line 1: the quote 'nginx is not closed"):
        groups()


def test_rules_that_change_hold_from_the_next_interval_on_and_no_count_is_lost(rules):
    rules.write_text("web: nginx\n")
    said: list[str] = []
    counting = groups(said)
    assert apps(counting, execs("nginx")) == {"web": 1}
    replace(rules, "front: nginx\n")
    assert apps(counting, execs("nginx")) == {"web": 1}
    assert apps(counting, execs("nginx")) == {"web": 0, "front": 1}
    assert said == [f"app groups read from {rules}: 2 groups"]


def test_the_users_rules_may_appear_while_the_agent_runs(rules):
    counting = groups()
    apps(counting)
    rules.write_text("mine: postgres\n")
    apps(counting)
    assert apps(counting, execs("postgres"))["mine"] == 1


def test_processes_that_run_already_are_in_their_new_group(rules):
    rules.write_text("web: nginx\n")
    nginx = event("task", tgid=7, pid=7, ppid=1, process_start_ns=5, comm=b"nginx")
    counting = groups([], nginx)
    counting.begin(batch(nginx))
    fork = {"ppid": 7, "parent_start_ns": 5, "boot_ns": 1, "caller_pid": 7}
    assert apps(counting, event("fork", tgid=8, pid=8, **fork)) == {"web": 1}
    replace(rules, "front: nginx\n")
    apps(counting)
    assert apps(counting, event("fork", tgid=9, pid=9, **fork)) == {"web": 0, "front": 1}


def test_rules_that_become_wrong_are_told_and_the_old_ones_stay(rules):
    rules.write_text("web: nginx\n")
    said: list[str] = []
    counting = groups(said)
    replace(rules, "front: 'nginx\n")
    apps(counting)
    assert said == [
        f"{rules}, line 1: the quote 'nginx is not closed; the app groups stay as they are"
    ]
    assert apps(counting, execs("nginx")) == {"web": 1}
    assert len(said) == 1


def test_rules_that_did_not_change_are_read_again_when_asked(rules):
    rules.write_text("web: nginx\n")
    said: list[str] = []
    counting = groups(said)
    apps(counting)
    assert said == []
    counting.reload()
    apps(counting)
    assert len(said) == 1


def test_without_apps_rules_are_not_looked_for(rules):
    rules.write_text("web: 'nginx\n")
    said: list[str] = []
    counting = Groups(Config(update_every_s=1), said.append)
    counting.reload()
    assert "app" not in counting.close(0, SECOND)[0]
    assert said == []


def test_a_running_process_is_known_by_its_own_command_line(rules):
    rules.write_text("tests: *pytest*\n")
    counting = groups()
    running = running_tasks()
    counting.begin(Batch(batch().origin, running, 0))
    (ours,) = running[running["pid"] == os.getpid()]
    start_ns = int(ours["process_start_ns"])
    fork = event("fork", ppid=os.getpid(), parent_start_ns=start_ns, boot_ns=1, tgid=9, pid=9)
    assert apps(counting, fork) == {"tests": 1}


def test_the_hosts_cgroups_are_known_from_the_start():
    tree = cgroup_tree.mounted() or go_without("no cgroup v2 tree is mounted here")
    counting = Groups(Config(cgroups=True))
    assert counting.cgroups.get(np.uint64(tree.stat().st_ino)).path == "/"


# --- what is switched ----------------------------------------------------------------------------


def test_apps_that_are_switched_on_are_those_of_the_processes_that_run(rules):
    rules.write_text("web: nginx\n")
    nginx = event("task", tgid=7, pid=7, ppid=1, process_start_ns=5, comm=b"nginx")
    counting = Groups(Config(update_every_s=1), running=lambda: batch(nginx).records)
    fork = {"ppid": 7, "parent_start_ns": 5, "boot_ns": 1, "caller_pid": 7}
    counting.add(batch(event("fork", tgid=8, pid=8, **fork)))
    assert "app" not in counting.close(0, SECOND)[0]
    counting.choose(apps=True, cgroups=False)
    assert apps(counting, event("fork", tgid=9, pid=9, **fork)) == {"web": 1}


def test_wrong_rules_keep_apps_from_being_switched_on_and_change_nothing(rules):
    rules.write_text("web: 'nginx\n")
    counting = Groups(Config(update_every_s=1))
    with pytest.raises(ConfigError, match="line 1"):
        counting.choose(apps=True, cgroups=True)
    assert (counting.choice.apps, counting.choice.cgroups) == (False, False)
    counting.add(batch(execs("nginx")))
    assert "app" not in counting.close(0, SECOND)[0]


def test_apps_that_are_switched_off_and_on_again_keep_their_counters(rules):
    rules.write_text("web: nginx\n")
    counting = groups()
    apps(counting, execs("nginx"))
    counting.choose(apps=False, cgroups=False)
    counting.add(batch(execs("nginx")))
    assert "app" not in counting.close(0, SECOND)[0]
    counting.choose(apps=True, cgroups=False)
    counting.add(batch(execs("nginx")))
    closed, _ = counting.close(0, SECOND)
    assert (closed["app"]["web"].count("exec"), closed["app"]["web"].sum("exec")) == (1, 2)
