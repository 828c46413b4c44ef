"""Where configuration files are: the user's own first, then the stock ones.

Rim: looks at the environment and at which files exist. The order is Netdata's: if the user's
file is there, the stock one is not read. Netdata names its directories in the environment of
the plugins that it starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from taskstream import resource

__all__ = ["APP_GROUPS", "PROCESS", "REJECT_LIST", "candidates", "find", "user_file"]

PROCESS = "process.conf"
"""The options; within Netdata's directories it lies in ``ebpf.d``, as its document says."""

APP_GROUPS = "apps_groups.conf"
"""The app groups; Netdata's own file serves, where there is one."""

REJECT_LIST = "ebpf_kernel_reject_list.txt"
"""Kernels that are known to fail; Netdata's own file serves, where there is one."""

_USER_DIR = Path("/etc/taskstream")
_NETDATA_USER_DIR = Path("/etc/netdata")
_NETDATA_STOCK_DIR = Path("/usr/lib/netdata/conf.d")


def user_file(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the user's own file is, or would be.

    Args:
        name: Such as ``process.conf``.
        environment: ``TASKSTREAM_CONFIG_DIR`` names another directory than /etc/taskstream.
    """
    return Path(environment.get("TASKSTREAM_CONFIG_DIR", _USER_DIR)) / name


def candidates(name: str, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where a file may be, in the order in which it is looked for; the last one exists.

    ``process.conf`` is looked for in Netdata's user directory only by a process that Netdata
    started; any other file belongs to Netdata too, and is looked for there in any case.
    """
    own, stock = user_file(name, environment), resource.stock(name)
    if name == PROCESS:
        started_by = environment.get("NETDATA_USER_CONFIG_DIR")
        return [*([Path(started_by) / "ebpf.d" / name] if started_by else []), own, stock]
    theirs = (
        Path(environment.get("NETDATA_USER_CONFIG_DIR", _NETDATA_USER_DIR)) / name,
        Path(environment.get("NETDATA_STOCK_CONFIG_DIR", _NETDATA_STOCK_DIR)) / name,
    )
    return [own, *theirs, stock]


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that is in force: the first of `candidates` that exists."""
    return next(path for path in candidates(name, environment) if path.exists())
