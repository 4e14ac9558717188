"""A picture that shows what a run did: parts of the result at full size, under the same parts without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arrays.resample import resample
from ..arrays.types import Image
from ..geometry import Box
from .picture import Picture

_SIDE = 512
_COLUMNS = 3
_GAP = 8


def comparison(before: Picture, after: Picture) -> Picture:
    """Up to three details of `after` in full resolution (below), and of `before` enlarged bicubically (above).

    The details are where the result is busiest, apart from each other.
    """
    size = after.size
    boxes = _details(after.pixels)
    large = [resample(before.pixels, size, rows=slice(box.top, box.bottom))[:, box.left : box.right] for box in boxes]
    rows = [
        _row(np.clip(crops, 0, 1)) for crops in (np.stack(large), np.stack([after.pixels[box.slices] for box in boxes]))
    ]
    gap = np.ones((_GAP, rows[0].shape[1], 3), np.float32)
    return replace(Picture(np.concatenate([rows[0], gap, rows[1]])), icc=after.icc)


def _row(crops: NDArray[np.float32]) -> Image:
    gap = np.ones((crops.shape[1], _GAP, 3), np.float32)
    parts = [part for crop in crops for part in (gap, crop)][1:]
    return np.concatenate(parts, axis=1)


def _details(image: Image) -> list[Box]:
    """Boxes of one size with the most contrast, none overlapping another, from left to right."""
    height, width = image.shape[:2]
    side_x, side_y = min(_SIDE, width), min(_SIDE, height)
    places = [
        (x, y)
        for y in range(0, height - side_y + 1, side_y // 4 or 1)
        for x in range(0, width - side_x + 1, side_x // 4 or 1)
    ]
    boxes = [Box(x, y, x + side_x, y + side_y) for x, y in places]
    boxes.sort(key=lambda box: -float(np.abs(np.diff(image[box.slices][::2, ::2].mean(axis=2), axis=1)).mean()))
    chosen: list[Box] = []
    for box in boxes:
        if len(chosen) < _COLUMNS and not any(box.intersects(other) for other in chosen):
            chosen.append(box)
    return sorted(chosen)
