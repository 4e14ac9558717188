"""Windows: how much of a tile is seen at each of its pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .spans import Span

_WINDOW_GRID = np.float64(2**12)


@lru_cache(maxsize=512)
def window(span: Span) -> NDArray[np.float32]:
    """The window of a span at its pixels' centres: (stop - start,) float32 in [0, 1], multiples of 2^-12.

    window(x) = step(x - rise) - step(x - fall) with step(d) = smoothstep(d / feather + 1/2).

    >>> from upscaler.tiling.spans import cover
    >>> left, right = cover(12, 8, 4, feather=4)
    >>> total = np.zeros(12)
    >>> for span in (left, right):
    ...     total[span.start : span.stop] += window(span)
    >>> bool((total == 1).all())
    True
    """
    centres = np.arange(span.start, span.stop, dtype=np.float64) + 0.5
    values = (_step(centres, span.rise, span.feather) - _step(centres, span.fall, span.feather, missing=0.0)).astype(
        np.float32
    )
    values.flags.writeable = False
    return values


def _step(x: NDArray[np.float64], switch: float | None, feather: float, *, missing: float = 1.0) -> NDArray[np.float64]:
    if switch is None:
        return np.full_like(x, missing)
    if feather == 0:
        return (x >= switch).astype(np.float64)
    u = np.clip((x - switch) / feather + 0.5, 0.0, 1.0)
    return np.rint(u * u * (3 - 2 * u) * _WINDOW_GRID) / _WINDOW_GRID
