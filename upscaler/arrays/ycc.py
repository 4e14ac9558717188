"""Luma and chroma planes of a picture, and their low band."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .types import Array

# ITU-T T.871
_LUMA = tuple(np.float32(weight) for weight in (0.299, 0.587, 0.114))
_BLUE, _RED = np.float32(1.772), np.float32(1.402)
_GREEN = np.float32(-0.344136), np.float32(-0.714136)


def split(image: Array) -> list[Array]:
    """Luma and two chroma differences of an RGB picture or difference (h, w, 3), as JPEG has them (ITU-T T.871).

    >>> luma, blue, red = split(np.array([[[1, 1, 1], [0, 0, 0.5]]], np.float32))
    >>> [[round(float(value), 3) for value in plane[0]] for plane in (luma, blue, red)]
    [[1.0, 0.057], [0.0, 0.25], [0.0, -0.041]]
    """
    red, green, blue = channels(image)
    luma = luma_of(red, green, blue)
    for plane, reach in ((blue, _BLUE), (red, _RED)):
        plane -= luma
        plane *= np.float32(1) / reach
    return [luma, blue, red]


def channels(image: Array) -> list[Array]:
    """The three channels of a picture (h, w, 3), as copies."""
    return [image[..., channel].copy() for channel in range(3)]


def luma_of(red: Array, green: Array, blue: Array) -> Array:
    """The first plane of `split`."""
    # Written out, because a matrix product may round differently when the picture is cut into strips.
    total = red * _LUMA[0]
    term = green * _LUMA[1]
    total += term
    np.multiply(blue, _LUMA[2], out=term)
    total += term
    return total


def join(planes: Sequence[Array]) -> Array:
    """The RGB picture (h, w, 3) of what `split` gave; zeros stay exactly zero."""
    image = np.empty((*planes[0].shape, 3), np.float32)
    join_into(image, planes)
    return image


def join_into(image: Array, planes: Sequence[Array]) -> None:
    """`join`, into a picture (h, w, 3) that is there."""
    luma, blue, red = planes
    mixed = red * _RED
    mixed += luma
    image[..., 0] = mixed
    np.multiply(blue, _BLUE, out=mixed)
    mixed += luma
    image[..., 2] = mixed
    np.multiply(blue, _GREEN[0], out=mixed)
    mixed += luma
    mixed += red * _GREEN[1]
    image[..., 1] = mixed


def smooth(planes: Array, levels: int) -> Array:
    """The low band of planes (..., h, w): `levels` passes of [1, 2, 1] / 4 along both axes, their step doubling.

    Like a Gaussian of sigma 0.71, 1.58, 3.24, 6.52, 13.06 for 1 to 5 levels; it reaches 2^levels - 1 pixels, and
    sees edges repeated. A plane of zeros stays exactly zero.

    Source: the "a trous" transform; as a colour fix in StableSR (https://arxiv.org/abs/2305.07015).
    """
    reach = (1 << levels) - 1
    source, shape = _framed(planes, reach)
    target = np.empty_like(source)
    # Along one long row each sum is one pass over contiguous memory; where two rows meet, what is wrong stays in the
    # frame, which every pass makes narrower.
    length = len(source)
    for level in range(levels):
        for step in (1 << level, shape[2] << level):
            for _ in range(2):
                length -= step
                np.add(source[:length], source[step : step + length], out=target[:length])
                source, target = target, source
    height, width = planes.shape[-2:]
    low = source[: math.prod(shape)].reshape(shape)[:, :height, :width]
    return (low * np.float32(16.0**-levels)).reshape(planes.shape)


def _framed(planes: Array, margin: int) -> tuple[Array, tuple[int, int, int]]:
    """All planes in one row, with their edges repeated `margin` times; and the shape (n, h, w) that they have so.

    The row is longer than that by what passes over it may take away, as much as one frame.
    """
    height, width = planes.shape[-2:]
    shape = math.prod(planes.shape[:-2]), height + 2 * margin, width + 2 * margin
    size = math.prod(shape)
    row = np.empty(size + 2 * margin * (shape[2] + 1), np.float32)
    row[size:] = 0
    framed = row[:size].reshape(shape)
    inside = framed[:, margin : margin + height]
    inside[:, :, margin : margin + width] = planes.reshape(-1, height, width)
    inside[:, :, :margin] = inside[:, :, margin : margin + 1]
    inside[:, :, margin + width :] = inside[:, :, margin + width - 1 : margin + width]
    framed[:, :margin] = framed[:, margin : margin + 1]
    framed[:, margin + height :] = framed[:, margin + height - 1 : margin + height]
    return row, shape
