"""The files that the package carries: the schema and the compiled BPF object.

In a wheel they lie beside the modules; in a clone, in ``schemas/`` and ``build/``.
"""

from pathlib import Path

__all__ = ["bpf_object", "schema"]

_PACKAGE = Path(__file__).parent
_CLONE = _PACKAGE.parent


def schema(name: str) -> Path:
    """Return the path of a file of ``schemas/``."""
    packaged = _PACKAGE / "schemas" / name
    return packaged if packaged.exists() else _CLONE / "schemas" / name


def bpf_object() -> Path:
    """Return the path at which the compiled CO-RE object should be; it may be missing."""
    packaged = _PACKAGE / "bpf" / "taskstream.bpf.o"
    return packaged if packaged.exists() else _CLONE / "build" / "taskstream.bpf.o"
