"""A row of numbers as a row of blocks.

Pure. Unknown is not zero: what is not known is a blank, zero the lowest block, and whatever is
more than zero is higher than that.
"""

from collections.abc import Sequence

__all__ = ["sparkline"]

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw the last values, the highest as a full block.

    Args:
        values: Oldest first; None for what is not known. What is below zero is drawn as zero.
        width: How many characters to fill; blanks stand before too few values.
    """
    last = values[-width:] if width > 0 else ()
    top = max((value for value in last if value is not None), default=0)
    return "".join(map(_block, last, [top] * len(last))).rjust(max(width, 0))


def _block(value: float | None, top: float) -> str:
    if value is None:
        return " "
    if value <= 0:
        return _BLOCKS[0]
    # From 1 for the least to the last for the highest.
    return _BLOCKS[1 + min(int(value / top * (len(_BLOCKS) - 1)), len(_BLOCKS) - 2)]
