"""Where a picture may change."""

from __future__ import annotations

import numpy as np

from ..arrays.resample import resample
from ..arrays.types import Array
from ..geometry import NO_WRAP, Box, Size, Wrap


class Mask:
    """A mask of any size laid over a canvas: 1 where it may change, 0 where it stays bit for bit, soft in between."""

    def __init__(self, values: Array, canvas: Size) -> None:
        """
        Args:
            values: (h, w) float32 in [0, 1].
            canvas: what it is stretched over.
        """
        self._values = np.ascontiguousarray(values[..., None])
        height, width = values.shape
        self._ratio = width / canvas.width, height / canvas.height
        self._canvas = canvas

    def under(self, box: Box, wrap: Wrap = NO_WRAP) -> Array:
        """The mask inside `box`, (box height, box width, 1); a part of the box beyond the canvas is left out."""
        parts = box.parts(self._canvas, wrap)
        if len(parts) == 1:
            return self._inside(parts[0].inside)
        whole = np.empty((box.size.height, box.size.width, 1), np.float32)
        for part in parts:
            whole[part.slices] = self._inside(part.inside)
        height = max(part.y + part.inside.size.height for part in parts)
        width = max(part.x + part.inside.size.width for part in parts)
        return whole[:height, :width]

    def _inside(self, box: Box) -> Array:
        x, y = self._ratio
        if (x, y) == (1.0, 1.0):
            return self._values[box.slices]
        offset = box.left * x, box.top * y
        return np.clip(resample(self._values, box.size, ratio=self._ratio, offset=offset), 0, 1)

    def touches(self, box: Box, wrap: Wrap = NO_WRAP) -> bool:
        """Whether anything inside `box` may change."""
        return bool(self.under(box, wrap).any())
