"""Masks: pictures that say where another one may change."""

from __future__ import annotations

import numpy as np

from ..arrays.types import Array
from ..arrays.ycc import channels, luma_of
from ..errors import ImageError
from ..geometry import MAX_PIXELS, Size
from .files import Source, load

_SAME_SHAPE = 0.02  # by which the sides may differ in proportion, beside one pixel for rounding


def load_mask(source: Source, over: Size, *, max_pixels: int = MAX_PIXELS) -> Array:
    """The mask in a picture of any size, (h, w) float32: 1 where it is white, 0 where it is black or transparent.

    Args:
        over: size of what it is laid over, which it must have the shape of.
        max_pixels: larger ones are refused before anything is decoded.

    Raises:
        ImageError: it cannot be read, is too large, or has another shape.
    """
    picture = load(source, max_pixels=max_pixels)
    values = picture.pixels[..., 0].copy() if picture.grey else luma_of(*channels(picture.pixels))
    if picture.alpha is not None:
        values *= picture.alpha
    width, height = picture.size
    wide, high = height * over.width / over.height, width * over.height / over.width
    if min(abs(width - wide) - 1 - width * _SAME_SHAPE, abs(height - high) - 1 - height * _SAME_SHAPE) > 0:
        raise ImageError(
            f"mask {picture.source or 'picture'}: {picture.size} does not have the shape of the picture ({over}); give a mask with "
            "the same proportions, of any size"
        )
    return np.clip(values, 0, 1)
