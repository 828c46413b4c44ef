"""A network namespace at the other end of a wire that can be cut and slowed down.

Needs root and a kernel with veth; slow is a token bucket (tbf), since netem is not everywhere.
"""

import os
import shutil
import subprocess
from typing import Self

from tests.needs import go_without, need_root

__all__ = ["Wire"]


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Wire:
    """The wire, up from the moment it is made.

    Attributes:
        there: Address of its other end.
        within: Words before a command that shall run there.
    """

    def __init__(self) -> None:
        need_root("a network namespace is made")
        if not shutil.which("ip"):
            go_without("no ip (Debian: iproute2)")
        self._name = f"ts{os.getpid()}"
        self._ours, self._theirs = f"{self._name}a", f"{self._name}b"
        net = f"10.231.{os.getpid() % 250}"
        self.there = f"{net}.2"
        self.within = ("nsenter", f"--net=/run/netns/{self._name}")
        _do("ip", "netns", "add", self._name)
        try:
            self._there("ip", "link", "set", "lo", "up")
            pair = ["ip", "link", "add", self._ours, "type", "veth", "peer", "name", self._theirs]
            done = subprocess.run([*pair, "netns", self._name], capture_output=True, text=True)
            if done.returncode:
                go_without(f"no veth: {done.stderr.strip()}")
            _do("ip", "address", "add", f"{net}.1/30", "dev", self._ours)
            _do("ip", "link", "set", self._ours, "up")
            self._there("ip", "address", "add", f"{net}.2/30", "dev", self._theirs)
            self.mend()
        except BaseException:
            self.close()
            raise

    def _there(self, *words: str) -> None:
        _do(*self.within, *words)

    def cut(self) -> None:
        """Let nothing through; no end is told."""
        self._there("ip", "link", "set", self._theirs, "down")

    def mend(self) -> None:
        """Let everything through again."""
        self._there("ip", "link", "set", self._theirs, "up")

    def slow_down(self, rate: str) -> None:
        """Let no more through to the other end than a rate, as tc(8) writes it."""
        bucket = ["rate", rate, "burst", "16k", "latency", "200ms"]
        _do("tc", "qdisc", "add", "dev", self._ours, "root", "tbf", *bucket)

    def speed_up(self) -> None:
        """Undo that, if it was done."""
        undo = ["tc", "qdisc", "del", "dev", self._ours, "root"]
        subprocess.run(undo, capture_output=True)

    def close(self) -> None:
        """Take it all away."""
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True)
        subprocess.run(["ip", "link", "del", self._ours], capture_output=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
