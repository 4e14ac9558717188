"""Between samples as they stand in files and floats: the only place where values are rounded to integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .types import Samples


def to_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as float32 in [0, 1]: integers divided by their largest value, floats clipped, NaN as 0.

    >>> to_float(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if samples.dtype == np.bool_:
        return samples.astype(np.float32)
    if np.issubdtype(samples.dtype, np.unsignedinteger):
        return np.divide(samples, np.float32(np.iinfo(samples.dtype).max), dtype=np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        return np.fmin(np.fmax(samples, 0), 1).astype(np.float32)
    raise ImageError(f"samples of type {samples.dtype}: allowed are bool, uint8, uint16, uint32 and floats")


def quantise(image: NDArray[np.float32], *, top: int = 0, depth: int = 8, dither: bool = True) -> Samples:
    """Integers of `depth` bits (8 or 16) for (H, W, C) floats in [0, 1], whose first row is row `top` of the picture.

    `dither` (8 bits only) adds an offset below half a step to a pixel before rounding, the same to all its channels, so
    that smooth gradients do not band. It depends on the position alone, so strips give the bytes of the whole; exact
    multiples of 1/255, black and white among them, and neutral greys stay what they are.

    Source: the sequence R2 (Roberts, The unreasonable effectiveness of quasirandom sequences, 2018) as ordered dither:
    evenly spread, and without the low frequencies that would show.
    """
    peak = (1 << depth) - 1
    scaled = np.fmin(np.fmax(image, 0), 1) * np.float32(peak)  # NaN becomes 0
    if dither and depth == 8:
        scaled += _dither(top, *image.shape[:2])[..., None]
    return np.rint(scaled, out=scaled).astype(np.uint16 if depth == 16 else np.uint8)


def _dither(top: int, height: int, width: int) -> NDArray[np.float32]:
    """Offsets in (-0.499, 0.499) for `height` rows from row `top` on; exact integer arithmetic, so any size will do."""
    a, b = np.uint64(0xC13FA9A9), np.uint64(0x91E10DA5)  # 2^32 / g and 2^32 / g^2, where g^3 = g + 1
    rows = (np.arange(top, top + height, dtype=np.uint64) * b)[:, None]
    columns = np.arange(width, dtype=np.uint64) * a
    return ((rows + columns).astype(np.uint32) * np.float32(0.998 / 2**32) - np.float32(0.499)).astype(np.float32)
