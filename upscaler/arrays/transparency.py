"""Colours for what cannot be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .store import IN_MEMORY, Store
from .strips import strips
from .types import Image


def spread_colours(pixels: Image, alpha: NDArray[np.float32], store: Store = IN_MEMORY) -> None:
    """Give every fully transparent pixel, in place, the colours of the visible pixels around it.

    What stands in a file below alpha 0 is arbitrary (often black) and would bleed into the edge at the first filter or
    network. Push-pull: average the visible pixels down a pyramid, then fill each hole from the level below it, linearly
    interpolated. Visible pixels stay as they are. Memory: about half of `pixels`, in the store.

    Source: Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.3.
    """
    if alpha.min() > 0 or not alpha.max() > 0:
        return
    height, width = alpha.shape
    coarse = store.empty(((height + 1) // 2, (width + 1) // 2, 3))
    weight = store.empty(coarse.shape[:2])
    for rows in strips(*weight.shape):
        fine = slice(2 * rows.start, 2 * rows.stop)
        seen = (alpha[fine, :, None] > 0).astype(np.float32)
        total = _sum_blocks(pixels[fine] * seen)
        count = _sum_blocks(seen)
        coarse[rows] = total / np.maximum(count, 1)
        weight[rows] = count[..., 0] > 0
    spread_colours(coarse, weight, store)
    for rows in strips(height, width, align=2):
        above, below = rows.start // 2, min((rows.stop + 1) // 2, len(coarse))
        top = max(above - 1, 0)
        filled = _double(_double(coarse[top : below + 1], 0), 1)[rows.start - 2 * top :, :width]
        hidden = ~(alpha[rows] > 0)
        pixels[rows][hidden] = filled[: len(hidden)][hidden]


def _sum_blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over blocks of 2 x 2; an odd last row or column forms a block of its own."""
    image = np.add.reduceat(image, range(0, image.shape[0], 2), axis=0)
    return np.add.reduceat(image, range(0, image.shape[1], 2), axis=1)


def _double(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Twice as long along `axis`, linearly interpolated between the centres of the old samples."""
    image = np.moveaxis(image, axis, 0)
    near = np.concatenate([image[:1], image, image[-1:]])
    out = np.empty((2 * len(image), *image.shape[1:]), np.float32)
    out[0::2] = 0.75 * image + 0.25 * near[:-2]
    out[1::2] = 0.75 * image + 0.25 * near[2:]
    return np.moveaxis(out, 0, axis)
