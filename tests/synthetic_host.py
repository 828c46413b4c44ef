"""A host made up for tests: shells in cgroups start programs, which do all that programs do.

Everything is drawn from one seed, so a host is the same whenever it is made.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import in_time_order, join_records
from taskstream.record import CALLS
from tests.synthetic import batch, bits, event

__all__ = ["CGROUPS", "RULES", "busy_host"]

CGROUPS = {
    11: "/system.slice/nginx.service",
    12: "/docker/" + "ab" * 32,
    13: "/user.slice/größe.scope",
}
RULES = "web: nginx httpd *httpd*\nbatch: crunch*\nshells: sh bash\n"

_PROGRAMS = (b"nginx", b"cruncher", b"ls", b"caf\xe9", b"bash", b"httpd", b"crunch-2")
_LIFE_NS = 90_000_000


def busy_host(
    first_ns: int, seconds: float, *, run_ns: int, processes: int = 400, seed: int = 7
) -> NDArray[np.void]:
    """Make the events of many short lives.

    Args:
        first_ns: CLOCK_BOOTTIME of the first.
        seconds: How long until the last process is forked.
        run_ns: The first number of each of the two CPUs.
        processes: How many lives.
        seed: Of everything.

    Returns:
        ``RECORD`` array in the order of time; its execs are without arguments.
    """
    rng = np.random.default_rng(seed)
    born = np.sort(rng.integers(first_ns, first_ns + int(seconds * 1e9), processes))
    lives = [_life(rng, 1000 + n, int(at)) for n, at in enumerate(born)]
    records = in_time_order(join_records(lives))
    records["cpu"] = rng.integers(0, 2, len(records))
    for cpu in (0, 1):
        here = np.flatnonzero(records["cpu"] == cpu)
        records["seq"][here] = run_ns + np.arange(len(here))
    return records


def _life(rng: np.random.Generator, pid: int, born_ns: int) -> NDArray[np.void]:
    shell = int(rng.integers(0, 3))  # one in each cgroup
    own = {
        "pid": pid,
        "tgid": pid,
        "start_ns": born_ns,
        "process_start_ns": born_ns,
        "ppid": 100 + shell,
        "parent_start_ns": 5 + shell,
        "cgroup_id": 11 + shell,
        "uid": int(rng.integers(0, 2)) * 1000,
        "comm": b"sh",
    }
    moments = np.sort(rng.integers(born_ns + 1, born_ns + _LIFE_NS, 6)).tolist()
    events = [event("fork", caller_pid=int(rng.integers(1, 3)), boot_ns=born_ns, **own)]
    if rng.random() < 0.8:
        own["comm"] = _PROGRAMS[int(rng.integers(0, len(_PROGRAMS)))]
        now = {"old_pid": pid, "flags": bits("args_lost"), "boot_ns": moments[0]}
        events.append(event("exec", **now, **own))
    thread = {**own, "pid": pid + 5000, "start_ns": moments[1]}
    if rng.random() < 0.3:
        flags = bits("thread")
        events.append(event("fork", flags=flags, boot_ns=moments[1], caller_pid=pid, **thread))
        events.append(event("exit", flags=flags, boot_ns=moments[2], exit_code=0, **thread))
        events.append(event("free", flags=flags, boot_ns=moments[3], **thread))
    if rng.random() < 0.2:
        call = int(rng.choice([CALLS["clone3"], CALLS["execve"]]))
        failure = {"call": call, "errno": int(rng.choice([2, 11])), "boot_ns": moments[2]}
        events.append(event("fail", **failure, **own))
    code = int(rng.choice([0, 0, 1 << 8, 9, 0x8B]))
    end = {"flags": bits("group_dead"), "exit_code": code, "boot_ns": moments[4]}
    events.append(event("exit", **end, **own))
    if rng.random() < 0.95:
        events.append(event("free", boot_ns=moments[5], **own))
    return batch(*events).records
