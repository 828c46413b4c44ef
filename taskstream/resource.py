"""The files that the package carries: schemas, stock configuration, the compiled BPF object.

The stock files lie beside the modules. The others do so in a wheel; in a clone they are in
``schemas/`` and ``build/``.
"""

from pathlib import Path

__all__ = ["bpf_object", "schema", "stock"]

_PACKAGE = Path(__file__).parent
_CLONE = _PACKAGE.parent


def schema(name: str) -> Path:
    """Return the path of a file of ``schemas/``."""
    packaged = _PACKAGE / "schemas" / name
    return packaged if packaged.exists() else _CLONE / "schemas" / name


def stock(name: str) -> Path:
    """Return the path of a stock configuration file; there is none of an unknown name."""
    return _PACKAGE / "stock" / name


def bpf_object() -> Path:
    """Return the path at which the compiled CO-RE object should be; it may be missing."""
    packaged = _PACKAGE / "bpf" / "taskstream.bpf.o"
    return packaged if packaged.exists() else _CLONE / "build" / "taskstream.bpf.o"
