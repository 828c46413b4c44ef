"""The files that the package carries: schemas, stock configuration, the compiled BPF object.

The stock files lie beside the modules. The others do so in a wheel; in a clone they are in
``schemas/`` and ``build/``.
"""

from pathlib import Path

__all__ = ["bpf_object", "bpf_source", "schema", "stock"]

_PACKAGE = Path(__file__).parent
_CLONE = _PACKAGE.parent


def schema(name: str) -> Path:
    """Return the path of a file of ``schemas/``."""
    packaged = _PACKAGE / "schemas" / name
    return packaged if packaged.exists() else _CLONE / "schemas" / name


def stock(name: str) -> Path:
    """Return the path of a stock configuration file; there is none of an unknown name."""
    return _PACKAGE / "stock" / name


def bpf_object(*, claims: bool = False) -> Path:
    """Return the path at which the compiled CO-RE object should be; it may be missing.

    Args:
        claims: The one for kernels whose BPF has no atomic fetch-and-add.
    """
    name = "taskstream-claims.bpf.o" if claims else "taskstream.bpf.o"
    packaged = _PACKAGE / "bpf" / name
    return packaged if packaged.exists() else _CLONE / "build" / name


def bpf_source(name: str) -> Path:
    """Return the path of a file of ``bpf/``, which BCC compiles at the start of the agent."""
    packaged = _PACKAGE / "bpf" / name
    return packaged if packaged.exists() else _CLONE / "bpf" / name
