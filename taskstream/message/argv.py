"""Arguments of many execs as MessagePack at a time, without a look at each in Python.

Pure: bytes from bytes. The kernel ends each argument with a NUL, MessagePack begins each text with
its length; below 32 bytes that is one byte as well. So the bytes stay where they are, and lengths
take the places of the NULs before them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_argvs"]

_ARRAY, _TEXT = 0x90, 0xA0
_LONGEST_ARRAY, _LONGEST_TEXT = 15, 31
_ARRAY_MARKERS = np.array([0, 0, 0xDC, 0, 0xDD], np.uint8)  # by the bytes of a length behind them
_TEXT_MARKERS = np.array([0, 0xD9, 0xDA, 0, 0xDB], np.uint8)


def pack_argvs(argvs: Sequence[bytes]) -> tuple[bytes, NDArray[np.intp]]:
    """Pack the arguments of each exec as an array of texts.

    Args:
        argvs: At least one; UTF-8, with a NUL after each argument but perhaps the last.

    Returns:
        The arrays end to end, and where each begins, and the end of the last.
    """
    # A NUL for each array, and one for the first text of each, which its array's moves on.
    letters = np.frombuffer(bytearray(b"\0".join([b"\0", *argvs])), np.uint8)
    starts = np.zeros(len(argvs) + 1, np.intp)
    np.cumsum(np.fromiter(map(len, argvs), np.intp, len(argvs)) + 1, out=starts[1:])
    if letters[starts].any():  # an argument was cut
        return pack_argvs([_ended(argv) for argv in argvs])
    nuls = np.flatnonzero(letters == 0)
    sizes = np.diff(nuls) - 1  # of the text behind each
    arrays = np.searchsorted(nuls, starts)
    sizes[arrays[:-1]] = np.diff(arrays) - 1
    heads = nuls[:-1]
    is_array = np.zeros(len(heads), np.bool_)
    is_array[arrays[:-1]] = True
    markers = np.where(is_array, _ARRAY, _TEXT) | sizes
    long = np.flatnonzero(sizes > np.where(is_array, _LONGEST_ARRAY, _LONGEST_TEXT))
    if not len(long):
        letters[heads] = markers
        return letters[:-1].tobytes(), starts
    more = _bytes_of(sizes[long], is_array[long])
    markers[long] = np.where(is_array[long], _ARRAY_MARKERS[more], _TEXT_MARKERS[more])
    letters[heads] = markers
    lengths = sizes[long].astype(">u4").view(np.uint8).reshape(-1, 4)
    lengths = lengths[np.arange(4) >= 4 - more[:, None]]
    longer = _with(letters[:-1], np.repeat(heads[long] + 1, more), lengths)
    moved = np.zeros(len(nuls), np.intp)
    moved[long + 1] = more
    return longer.tobytes(), starts + np.cumsum(moved)[arrays]


def _with(
    letters: NDArray[np.uint8], places: NDArray[np.intp], more: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return letters with more of them before some places, which ascend."""
    longer = np.empty(len(letters) + len(more), np.uint8)
    old = np.ones(len(longer), np.bool_)
    places = places + np.arange(len(more))
    old[places] = False
    longer[old], longer[places] = letters, more
    return longer


def _ended(argv: bytes) -> bytes:
    return argv + b"\0" if argv and not argv.endswith(b"\0") else argv


def _bytes_of(sizes: NDArray[np.intp], is_array: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return how many bytes hold each of some lengths: 2 or 4 of an array's, 1 too of a text's."""
    least: NDArray[np.intp] = np.where(is_array | (sizes > 0xFF), 2, 1)
    return np.where(sizes > 0xFFFF, 4, least)
