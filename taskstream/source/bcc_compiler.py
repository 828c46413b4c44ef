"""Compile and load with BCC, hand over the descriptors, and be gone: a program of its own.

BCC brings a whole C compiler into the process that imports it. So ``legacy`` runs this file in a
child: one line of JSON on standard input says what to compile and load, and the descriptors go
back over the socket that is standard output. What BCC has to say goes to standard error.
It imports nothing of taskstream, so any Python that has BCC can run it.
"""

import json
import socket
import sys
from typing import Any

__all__: list[str] = []


def _compile(request: dict[str, Any]) -> dict[str, int]:
    """Return the descriptors by name: of maps, and of loaded programs."""
    from bcc import BPF

    kinds = {
        "kprobe": BPF.KPROBE,
        "raw_tracepoint": BPF.RAW_TRACEPOINT,
        "tracepoint": BPF.TRACEPOINT,
    }
    compiled = BPF(text=request["text"], cflags=request["flags"])
    found = {name: compiled[name].map_fd for name in request["maps"]}
    for name, kind in request["programs"].items():
        found[name] = compiled.load_func(name.encode(), kinds[kind]).fd
    _keep.append(compiled)  # what it holds is closed when it goes
    return found


_keep: list[Any] = []


def main() -> None:
    """Read the request, answer it."""
    request = json.loads(sys.stdin.readline())
    with socket.socket(fileno=sys.stdout.fileno()) as channel:
        descriptors = _compile(request)
        names = json.dumps(list(descriptors)).encode()
        socket.send_fds(channel, [names], list(descriptors.values()))


if __name__ == "__main__":
    main()
