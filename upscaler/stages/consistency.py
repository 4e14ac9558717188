"""Input consistency: the picture, scaled down, is the input again.

Iterative back-projection, `y += up(input - down(y))`, in place. The corrections are held at the input's resolution;
`down` and `up` are computed in strips, with the same bytes as on the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays.resample import resample
from ..arrays.store import IN_MEMORY, Store
from ..arrays.strips import strips
from ..geometry import NO_WRAP, Size, Wrap
from .noise_gate import REACH, Gate

Array = NDArray[np.float32]

_ROUNDS = 2

RADIUS = _ROUNDS * (REACH + 5)
"""How far, in pixels of the input, a result depends on its surroundings; the filters down and up reach 5 of them."""

PLAIN_RADIUS = _ROUNDS * 5
"""The same where `size` is given and nothing is gated."""


def enforce_consistency(
    canvas: Array,
    source: Array,
    *,
    store: Store = IN_MEMORY,
    size: Size | None = None,
    strength: float = 1.0,
    quantisation: Sequence[Sequence[int]] | None = None,
    wrap: Wrap = NO_WRAP,
    start: tuple[int, int] = (0, 0),
) -> None:
    """Make `canvas`, scaled down, equal to what it was made from, in place.

    With the input picture as source, differences that may be its noise are left alone: see `Gate`. With `size`, the
    source is a picture of the canvas's own size whose consistency has been enforced already, and the canvas is brought
    back to it at the resolution of `size`; a canvas that equals the source is then left as it is, bit for bit.

    Args:
        canvas: (H, W, 3) float32. Where it is not larger than the input on either axis, nothing is done; an axis that has
            become smaller is compared at what it has become.
        source: (h, w, 3) float32, the whole input picture; or (H, W, 3) if `size` is given.
        store: where pictures of the input's size are made.
        size: of the input picture.
        strength: 0 (nothing) to 1.
        quantisation: tables of the file that the input came from, see `jpeg.find_steps`; without them, traces of
            compression are looked for in the picture itself.
        wrap: on which axes the picture goes around.
        start: column and row of the input where it begins there.

    Source: iterative back-projection (Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L).
    """
    height, width = canvas.shape[:2]
    whole = size or Size(source.shape[1], source.shape[0])
    small = Size(min(whole.width, width), min(whole.height, height))
    if strength == 0 or small == (width, height):
        return
    target = source if size is None and small == whole else _down(source, small, store, wrap)
    start = start[0] * small.width // whole.width, start[1] * small.height // whole.height
    gate = Gate.of(target, quantisation if small == whole else None, start=start) if size is None else None
    for _ in range(_ROUNDS):
        residual = _down(canvas, small, store, wrap)
        np.subtract(target, residual, out=residual)
        if gate is not None:
            gate(residual, target, wrap, start)
        if strength != 1:
            residual *= np.float32(strength)
        for rows in strips(height, width):
            canvas[rows] += resample(residual, Size(width, height), rows=rows, wrap=wrap)


def _down(image: Array, size: Size, store: Store, wrap: Wrap) -> Array:
    result = store.empty((size.height, size.width, image.shape[2]))
    # A strip of the result reads far more pixels than it has: it is cut for what it reads.
    for rows in strips(size.height, image.shape[0] * image.shape[1] // size.height):
        result[rows] = resample(image, size, rows=rows, wrap=wrap)
    return result
