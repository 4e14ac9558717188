"""Input consistency: the picture, scaled down, is the input again.

Iterative back-projection, `y += up(input - down(y))`, in place. The corrections are held at the input's resolution;
`down` and `up` are computed in strips, with the same bytes as on the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from . import jpeg
from .geometry import Size
from .resample import resample
from .strips import apply_in_strips, strips

Array = NDArray[np.float32]

ROUNDS = 2


def enforce_consistency(
    canvas: Array, source: Array, *, strength: float = 1.0, steps: jpeg.Steps | None = None
) -> None:
    """Make `canvas`, scaled down, equal `source`, in place, but for what may be compression noise of `source`.

    Args:
        canvas: (H, W, 3) float32. Where it is not larger than the source on both axes, nothing is done.
        source: (h, w, 3) float32, the input picture.
        strength: 0 (nothing) to 1.
        steps: quantisation steps of a source that was JPEG-compressed (`jpeg.find_steps`). Differences within half a
            step are then left alone: the compressed file does not contradict them.

    Source: iterative back-projection (Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L).
    """
    height, width = source.shape[:2]

    def correction() -> Array:
        residual = _down(canvas, Size(width, height))
        np.subtract(source, residual, out=residual)
        if steps is not None:
            gate = partial(jpeg.unexplained, steps=steps)
            apply_in_strips(gate, residual, source, halo=jpeg.HALO, align=jpeg.ALIGN)
        return residual

    _project(canvas, Size(width, height), strength, correction)


def keep_consistency(canvas: Array, base: Array, size: Size, *, strength: float = 1.0) -> None:
    """Make `canvas`, scaled down to `size`, equal `base` scaled down, in place.

    For a canvas that was refined from a base whose consistency has been enforced already. A canvas that equals the
    base is left as it is, bit for bit.

    Args:
        canvas, base: (H, W, 3) float32. Where they are not larger than `size` on both axes, nothing is done.
        size: of the input picture.
        strength: 0 (nothing) to 1.
    """

    def correction() -> Array:
        residual = _down(canvas, size)
        np.subtract(_down(base, size), residual, out=residual)
        return residual

    _project(canvas, size, strength, correction)


def halo(scale: float, *, compressed: bool) -> int:
    """How far, in pixels of the canvas, a result of `enforce_consistency` depends on its surroundings."""
    reach = 2 + 2 + math.ceil(2 / scale) + (jpeg.HALO if compressed else 0)
    return math.ceil(ROUNDS * reach * scale)


def _project(canvas: Array, size: Size, strength: float, correction: Callable[[], Array]) -> None:
    height, width = canvas.shape[:2]
    if strength == 0 or width <= size.width or height <= size.height:
        return
    for _ in range(ROUNDS):
        residual = correction()
        if strength != 1:
            residual *= np.float32(strength)
        for start, stop in strips(height, width):
            canvas[start:stop] += resample(residual, Size(width, height), rows=slice(start, stop))


def _down(image: Array, size: Size) -> Array:
    result = np.empty((size.height, size.width, image.shape[2]), np.float32)
    # A strip of the result reads far more pixels than it has: it is cut for what it reads.
    for start, stop in strips(size.height, image.shape[0] * image.shape[1] // size.height):
        result[start:stop] = resample(image, size, rows=slice(start, stop))
    return result
