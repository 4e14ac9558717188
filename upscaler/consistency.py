"""Input consistency: the picture, scaled down, is the input again.

Iterative back-projection, `y += up(input - down(y))`, in place. The corrections are held at the input's resolution;
`down` and `up` are computed in strips, with the same bytes as on the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from . import jpeg
from .geometry import Size
from .resample import resample
from .strips import apply_in_strips, strips

Array = NDArray[np.float32]

RADIUS = 80
"""How far, in pixels of the input, a result depends on its surroundings: twice the gate's 35 and the filters' 5."""

_ROUNDS = 2


def enforce_consistency(
    canvas: Array,
    source: Array,
    *,
    size: Size | None = None,
    strength: float = 1.0,
    quantisation: Sequence[Sequence[int]] | None = None,
) -> None:
    """Make `canvas`, scaled down, equal to what it was made from, in place.

    With the input picture as source, differences that may be compression noise are left alone: see
    `jpeg.unexplained`. With `size`, the source is another picture of the canvas's size whose consistency has been
    enforced already, and the canvas is brought back to it at the resolution of `size`; a canvas that equals the
    source is then left as it is, bit for bit.

    Args:
        canvas: (H, W, 3) float32. Where it is not larger than the input on both axes, nothing is done.
        source: (h, w, 3) float32, the whole input picture; or (H, W, 3) if `size` is given.
        size: of the input picture.
        strength: 0 (nothing) to 1.
        quantisation: tables of the file that the input came from, see `jpeg.find_steps`; without them, traces of
            JPEG compression are looked for in the picture.

    Source: iterative back-projection (Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L).
    """
    height, width = canvas.shape[:2]
    small = size or Size(source.shape[1], source.shape[0])
    if strength == 0 or width <= small.width or height <= small.height:
        return
    target = source if size is None else _down(source, small)
    steps = jpeg.find_steps(source, quantisation) if size is None else None
    for _ in range(_ROUNDS):
        residual = _down(canvas, small)
        np.subtract(target, residual, out=residual)
        if steps is not None:
            gate = partial(jpeg.unexplained, steps=steps)
            apply_in_strips(gate, residual, target, halo=jpeg.HALO, align=jpeg.ALIGN)
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
