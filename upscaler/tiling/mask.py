"""Where a picture may change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays.resample import resample
from ..arrays.strips import strips
from ..arrays.types import Array, Image
from ..geometry import NO_WRAP, Box, Size, Wrap


class Mask:
    """A mask of any size laid over a canvas: 1 where it may change, 0 where it stays bit for bit, soft in between."""

    def __init__(self, values: Array, canvas: Size, *, feather: float = 0.0, wrap: Wrap = NO_WRAP) -> None:
        """
        Args:
            values: (h, w) float32 in [0, 1].
            canvas: what it is stretched over.
            feather: how far from where it is 0 it may be 1 at the earliest, in pixels of the canvas: hard edges fade in
                on this way, inwards, and what was 0 stays 0.
            wrap: which axes of the canvas are circles.
        """
        height, width = values.shape
        self._ratio = width / canvas.width, height / canvas.height
        reach = round(feather * min(self._ratio))
        if reach >= 1:
            values = np.minimum(values, _fade_in(values > 0, reach, wrap))
        self._values = np.ascontiguousarray(values[..., None])
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

    def put_back(self, canvas: Image, base: Image) -> None:
        """Put back, in place, the base where the mask is 0."""
        height, width = canvas.shape[:2]
        for rows in strips(height, width):
            open_here = self.under(Box(0, rows.start, width, rows.stop)) > 0
            np.copyto(canvas[rows], base[rows], where=~open_here)


def _fade_in(inside: NDArray[np.bool_], reach: int, wrap: Wrap) -> Array:
    """0 where not `inside`, then rising to 1 with the distance in steps along the axes, of which `reach` + 1 are 1."""
    around = [(reach, reach) if circle else (0, 0) for circle in (wrap.y, wrap.x)]
    distance = np.pad(inside, around, "wrap").astype(np.float32)
    distance *= reach + 1
    for axis in (0, 1):
        lines = np.moveaxis(distance, axis, -1)
        places = np.arange(lines.shape[-1], dtype=np.float32)
        for line, place in ((lines, places), (lines[..., ::-1], places)):  # the least of what is left and right, so far
            np.minimum(line, np.minimum.accumulate(line - place, axis=-1) + place, out=line)
    height, width = inside.shape
    rows, columns = (slice(before, before + side) for (before, _), side in zip(around, (height, width)))
    steps = distance[rows, columns] / np.float32(reach + 1)
    return (steps * steps * (3 - 2 * steps)).astype(np.float32)
