"""Debian's Prometheus and Netdata, as tests ask them what they have."""

import json
import shlex
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["NETDATA", "SYSTEM_INFO", "Netdata", "Parent", "Prometheus", "free_port"]

NETDATA = """\
[global]
    run as user = root
[db]
    mode = ram
    update every = 1
[directories]
    config = {folder}/etc
    stock config = {folder}/stock
    plugins = {folder}/plugins
    cache = {folder}/cache
    lib = {folder}/lib
    log = {folder}/log
    web = {folder}/web
[web]
    bind to = 127.0.0.1
    default port = {port}
[logs]
    access = none
[plugins]
    timex = no
    idlejitter = no
    netdata monitoring = no
    profile = no
    tc = no
    diskspace = no
    proc = no
    cgroups = no
    statsd = no
    slabinfo = no
[health]
    enabled = no
[ml]
    enabled = no
[cloud]
    enabled = no
"""
"""Configuration of a Netdata that shows nothing but our charts."""

SYSTEM_INFO = """\
#!/bin/sh
for name in HOST_OS_NAME HOST_OS_ID HOST_OS_VERSION SYSTEM_KERNEL_NAME SYSTEM_KERNEL_VERSION; do
    echo "NETDATA_$name=test"
done
"""
"""A script that tells Netdata what it runs on; Debian's package has none."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Prometheus:
    """A running Prometheus."""

    address: str

    def query(self, expression: str) -> dict[str, float]:
        """Return the values of an expression by their label ``event``."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{query}") as answer:
            found = json.load(answer)["data"]["result"]
        return {one["metric"].get("event", ""): float(one["value"][1]) for one in found}


@dataclass
class Netdata:
    """A running Netdata with our plugin."""

    address: str
    update_every_s: int

    def get(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{what}?{query}") as answer:
            return json.load(answer)

    def charts(self) -> dict[str, dict[str, Any]]:
        """Return our charts by id; none before Netdata answers."""
        try:
            charts = self.get("charts")["charts"]
        except OSError:
            return {}
        return {id_: c for id_, c in charts.items() if c["plugin"] == "taskstream.plugin"}

    def events(self, chart: str, dimension: str) -> float:
        """Return a rate summed over time: the number of events."""
        found = self.get("data", chart=chart, format="json", options="natural-points")
        column = found["labels"].index(dimension)
        points = [row[column] for row in found["data"] if row[column] is not None]
        return sum(points) * self.update_every_s


class Parent:
    """A parent that a Netdata streams to, and that calls its functions: 1.37 lets nobody else.

    Attributes:
        configuration: For the child's stream.conf.
    """

    # Of the protocol of Netdata 1.37: capabilities are negotiated, functions can be called.
    _CAPABILITIES = 1 << 6 | 1 << 11

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(60)
        port = self._listener.getsockname()[1]
        self.configuration = (
            f"[stream]\nenabled = yes\ndestination = 127.0.0.1:{port}\n"
            "api key = 11111111-2222-3333-4444-555555555555\nenable compression = no\n"
        )
        self._calls = 0

    def accept(self) -> None:
        """Wait for the child, and let it stream."""
        self._child, _ = self._listener.accept()
        self._child.settimeout(60)
        self._lines = self._child.makefile("r", errors="replace")
        while self._lines.readline().strip():
            pass
        greeting = f"Hit me baby, push them over with the version={self._CAPABILITIES}"
        self._child.sendall(greeting.encode())

    def call(self, function: str) -> tuple[int, Any]:
        """Call a function of the child; return its status and what it says."""
        self._calls += 1
        self._child.sendall(f'FUNCTION call-{self._calls} 10 "{function}"\n'.encode())
        for line in self._lines:
            if line.startswith(f'FUNCTION_RESULT_BEGIN "call-{self._calls}"'):
                break
        status = int(shlex.split(line)[2])
        body = ""
        while "FUNCTION_RESULT_END" not in (line := self._lines.readline()):
            assert line, "the child hung up"
            body += line
        return status, json.loads(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.close()
        if self._calls:
            self._lines.close()
            self._child.close()
