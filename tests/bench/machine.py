"""What the numbers were measured on. Rim: reads /proc and the installed packages."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe"]

_PACKAGES = ("numpy", "confluent-kafka", "msgpack", "click")


def describe() -> dict[str, str]:
    """Return the machine and the versions, by name."""
    from confluent_kafka import libversion

    from taskstream import __version__
    from taskstream.source import libbpf

    packages = [f"{name} {version(name)}" for name in _PACKAGES]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{_memory_mib():,} MiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(
            [f"taskstream {__version__}", *packages, f"librdkafka {libversion()[0]}"]
        )
        + f", libbpf {libbpf.version().removeprefix('v')}",
        "load average": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or "unknown"


def _memory_mib() -> int:
    line = Path("/proc/meminfo").read_text().split("\n", 1)[0]
    return int(line.split()[1]) // 1024
