"""Build hook: the wheel carries the schemas, the compiled BPF objects, and the sources for BCC.

How the objects are compiled is the Makefile's to know. The wheel stays py3-none-any: they are
little-endian BPF bytecode, and libbpf relocates them to the running kernel, a kprobe's registers
included, so one serves every architecture.
"""

import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarriedFiles(BuildHookInterface[Any]):
    """Compiles, if need be, and adds what ``taskstream.resource`` looks for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before the build of a wheel; ``version`` is ``standard`` or ``editable``."""
        try:
            subprocess.run(["make", "--silent", "bpf"], cwd=self.root, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.abort(f"no BPF object ({error}); Debian packages: make clang libbpf-dev")
        if version == "standard":  # an editable install finds both in the clone
            build_data["force_include"] |= {
                "build/taskstream.bpf.o": "taskstream/bpf/taskstream.bpf.o",
                "build/taskstream-claims.bpf.o": "taskstream/bpf/taskstream-claims.bpf.o",
                "bpf": "taskstream/bpf",
                "schemas": "taskstream/schemas",
            }
