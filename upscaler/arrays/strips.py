"""Local functions applied to a large picture in place, a strip of rows at a time, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .types import Array

PIXELS = 1 << 18
"""How many pixels a strip has, roughly; 2^18 keeps a few planes of it in the second-level cache of most processors."""


def strips(height: int, width: int, *, halo: int = 0, align: int = 1, rows: int | None = None) -> Iterator[slice]:
    """The rows of each strip of a picture, from top to bottom.

    Strips start at multiples of `align` and are at least twice as high as `halo`, so that at most half of the work
    is spent on rows that belong to neighbours. `rows` is how many a strip has where a file format says so.

    >>> list(strips(10, 3, rows=4))
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    step = rows or max(PIXELS // max(width, 1), 2 * halo, 1)
    step = -(-step // align) * align
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def apply_in_strips(function: Callable[..., Array], canvas: Array, *others: Array, halo: int, align: int = 1) -> None:
    """Replace `canvas` by `function(canvas, *others)`, in place, with the same bytes whatever the strips are.

    Args:
        function: takes a window of whole rows of `canvas` (its own copy) and the same rows of `others` (not to be
            changed), and returns the new rows of that window. A row of its result depends on no rows further
            than `halo` away, and on their distance to the ends of a window only where the picture ends too.
        canvas: (H, W, C), changed in place.
        others: arrays with H rows.
        halo: in rows, a multiple of `align`.
        align: windows start at multiples of this.
    """
    height, width = canvas.shape[:2]
    above = canvas[:0].copy()
    for rows in strips(height, width, halo=halo, align=align):
        start, stop = rows.start, rows.stop
        first, last = max(start - halo, 0), min(stop + halo, height)
        window = np.concatenate([above, canvas[start:last]])
        above = window[max(stop - halo, 0) - first : stop - first].copy()
        result = function(window, *(other[first:last] for other in others))
        canvas[rows] = result[start - first : stop - first]
