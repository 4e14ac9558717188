"""Noise that belongs to the canvas and not to the tile: a function of the seed and the position.

The field is made of blocks of 16 x 16 cells, each drawn by a counter-based generator (Philox4x64; Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", 2011) whose counter is the block's position. So overlapping tiles see the same noise where they
overlap, and nothing depends on the batch, on the order, on a resume, or on which region is run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box

BLOCK = 16


def field(seed: int, stream: int, box: Box, channels: int) -> NDArray[np.float32]:
    """Standard normal noise under `box`, (channels, box height, box width) float32.

    `box` is in cells of whatever grid the caller works on (latent cells for a latent model); `stream` tells apart the
    draws that one position needs, such as the steps of a stochastic scheduler. `seed` is any integer >= 0.

    >>> whole = field(7, 0, Box(0, 0, 40, 30), channels=4)
    >>> part = field(7, 0, Box(10, 5, 30, 25), channels=4)
    >>> bool((whole[:, 5:25, 10:30] == part).all())
    True
    """
    out = np.empty((channels, box.size.height, box.size.width), np.float32)
    for top in range(box.top // BLOCK * BLOCK, box.bottom, BLOCK):
        for left in range(box.left // BLOCK * BLOCK, box.right, BLOCK):
            block = _block(seed, stream, top // BLOCK, left // BLOCK, channels)
            y0, y1 = max(top, box.top), min(top + BLOCK, box.bottom)
            x0, x1 = max(left, box.left), min(left + BLOCK, box.right)
            out[:, y0 - box.top : y1 - box.top, x0 - box.left : x1 - box.left] = block[
                :, y0 - top : y1 - top, x0 - left : x1 - left
            ]
    return out


def _block(seed: int, stream: int, row: int, column: int, channels: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.Philox(key=seed % 2**128, counter=[0, stream, row, column]))
    return generator.standard_normal((channels, BLOCK, BLOCK), np.float32)
