"""How much there is to see in each part of a picture, and how clearly, in cells of a few pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays.strips import strips
from ..arrays.types import Array, Image
from ..arrays.ycc import channels, luma_of
from ..geometry import Box, Size, Wrap

_CELL = 16  # pixels
_DETAIL = (4 / 255) ** 2  # mean square of the gradient at which a place is half as detailed as can be


class Look(NamedTuple):
    """What a part of a picture is like.

    Attributes:
        detail: 0 where it is flat, towards 1 for texture and edges.
        clarity: how much of its detail lies in a few strong edges: 0.2 for grass and noise, 0.5 for print, 0.7 for lines
            far from one another.
    """

    detail: float
    clarity: float


class TextureMap:
    """The detail of a picture, for any box of what it is enlarged to: that of luma at half the size, where noise counts less.

    Clarity is 1 - (mean of |g|)^2 / mean of g^2 of the gradients g in a cell; noise has 1 - pi / 4.
    """

    def __init__(self, pixels: Image, canvas: Size, wrap: Wrap) -> None:
        """
        Args:
            pixels: (h, w, 3) in [0, 1].
            canvas: size of what the boxes lie in.
        """
        height, width = pixels.shape[:2]
        self._canvas, self._wrap = canvas, wrap
        rows = [_cells(pixels[each]) for each in strips(height, width, align=_CELL)]
        self._cells = np.concatenate(rows)
        self._scale = width / canvas.width / _CELL, height / canvas.height / _CELL

    @property
    def mean(self) -> Look:
        """Of the whole picture."""
        return _look(self._cells.reshape(-1, 2))

    def under(self, box: Box) -> Look:
        """Of a box in the canvas; it may go beyond it."""
        across, down = self._scale
        found: list[Array] = []
        for part in box.parts(self._canvas, self._wrap):
            left, top, right, bottom = part.inside
            x, y = (min(int(at), most - 1) for at, most in zip((left * across, top * down), self._cells.shape[1::-1]))
            cells = self._cells[y : max(round(bottom * down), y + 1), x : max(round(right * across), x + 1)]
            found.append(cells.reshape(-1, 2))
        return _look(np.concatenate(found))


def _cells(pixels: Image) -> Array:
    """For each cell the energy of its gradients, and how much of it lies in few of them, (rows, columns, 2)."""
    below, beside = (-side % _CELL for side in pixels.shape[:2])
    luma = np.pad(luma_of(*channels(pixels)), ((0, below), (0, beside)), "edge")
    half = (luma[::2, ::2] + luma[1::2, ::2] + luma[::2, 1::2] + luma[1::2, 1::2]) / 4
    side = _CELL // 2
    blocks = half.reshape(half.shape[0] // side, side, half.shape[1] // side, side).swapaxes(1, 2)
    across, down = blocks[..., :-1, 1:] - blocks[..., 1:, :-1], blocks[..., 1:, 1:] - blocks[..., :-1, :-1]
    square = across * across + down * down  # of the gradient, twice
    energy = square.mean(axis=(2, 3))
    return np.stack([energy, energy - np.sqrt(square).mean(axis=(2, 3)) ** 2], axis=-1)


def _look(cells: Array) -> Look:
    energy, directed = (float(value) for value in cells.mean(axis=0, dtype=np.float64))

    return Look(energy / (energy + _DETAIL), directed / energy if energy else 0.0)
