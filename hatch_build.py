"""Build hook: the wheel carries the schemas and the compiled BPF object.

How the object is compiled is the Makefile's to know. The wheel stays py3-none-any: the object is
little-endian BPF bytecode, and libbpf relocates it to the running kernel, so one serves every
architecture as long as no program reads CPU registers (kprobes do).
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
                "schemas": "taskstream/schemas",
            }
