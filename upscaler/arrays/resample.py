"""Separable resampling whose result does not depend on how it is cut into strips.

Every output pixel is a sum of `weight * pixel` in one fixed order, taken from precomputed taps, so that any range of
output rows has the same bytes as those rows of the whole picture. Kernels, antialiasing and edges are Pillow's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..geometry import NO_WRAP, Size, Wrap

Array = NDArray[np.float32]
Kernel = Literal["bicubic", "lanczos"]
_FINE = 2.0**32  # parts of a pixel


class Taps(NamedTuple):
    """One axis of a resampling: `out[i] = sum over k of weights[k, i] * in[places[k, i]]`, k ascending."""

    places: NDArray[np.intp]
    weights: Array


def resample(
    image: Array,
    size: Size,
    *,
    kernel: Kernel = "bicubic",
    ratio: tuple[float, float] | None = None,
    offset: tuple[float, float] = (0.0, 0.0),
    rows: slice = slice(None),
    wrap: Wrap = NO_WRAP,
) -> Array:
    """`image` resampled to `size`, or only some of the result's rows.

    Args:
        image: (h, w, channels) float32, any range; the result has the same range but for the kernel's overshoot.
        size: width and height of the whole result.
        kernel: `bicubic` (a = -0.5) or `lanczos` (3 lobes); both are widened when shrinking.
        ratio: input pixels per output pixel, along x and y; `None` maps the whole picture onto the whole result.
            With it the right and bottom ends of the result may lie at a fraction of an input pixel.
        offset: where the result's left and top sides lie in the input, in input pixels.
        rows: the rows of the result to compute; they have the same bytes as in the whole result.
        wrap: on which axes the picture goes on at its other side, beyond which there is nothing otherwise.

    Returns: (rows, size.width, channels) float32.

    Source: Pillow's `Image.resize`, with which it agrees to 1e-5 where `ratio` is `None`.

    >>> ramp = np.linspace(0, 1, 8, dtype=np.float32)[None, :, None].repeat(8, axis=0)
    >>> small = resample(ramp, Size(4, 4))
    >>> small.shape, round(float(small[0, 1, 0]), 2)
    ((4, 4, 1), 0.35)
    """
    height, width = image.shape[:2]
    ratio_x, ratio_y = ratio or (width / size.width, height / size.height)
    x = taps(width, size.width, ratio=ratio_x, offset=offset[0], kernel=kernel, circle=wrap.x)
    y = taps(height, size.height, ratio=ratio_y, offset=offset[1], kernel=kernel, circle=wrap.y)
    y = Taps(y.places[:, rows], y.weights[:, rows])
    if not y.places.size:
        return np.empty((0, size.width, *image.shape[2:]), np.float32)
    if wrap.y:  # the rows may lie at both ends
        used, places = np.unique(y.places, return_inverse=True)
        image, y = image[used], Taps(places.reshape(y.places.shape), y.weights)
    else:
        first, last = int(y.places.min()), int(y.places.max()) + 1
        image, y = image[first:last], Taps(y.places - first, y.weights)
    # The order of the axes follows the whole picture's shape, never the strip's: it decides how sums are rounded.
    if size.height < height:
        return _along_columns(_along_rows(image, y), x)
    return _along_rows(_along_columns(image, x), y)


@lru_cache(maxsize=32)
def taps(
    length: int, count: int, *, ratio: float, offset: float = 0.0, kernel: Kernel = "bicubic", circle: bool = False
) -> Taps:
    """The taps that make `count` samples, `ratio` input pixels apart, from an axis of `length` pixels.

    Taps beyond the ends are left out, or taken from the other end of a circle, and the remaining weights of a sample add
    up to one.
    """
    radius, function = _KERNELS[kernel]
    stretch = max(ratio, 1.0)
    centres = offset + (np.arange(count, dtype=np.float64) + 0.5) * ratio
    if circle:  # whole pixels apart, samples have the same weights
        centres = np.rint(centres * _FINE) / _FINE
    centres = np.clip(centres, 0, length)
    first = np.floor(centres - radius * stretch + 0.5).astype(np.intp)
    index = first + np.arange(math.ceil(2 * radius * stretch) + 1)[:, None]
    weights = function((index + 0.5 - centres) / stretch)
    if not circle:
        weights[(index < 0) | (index >= length)] = 0.0
    weights /= weights.sum(axis=0)
    used = np.any(weights != 0.0, axis=1)
    places = index[used] % length if circle else np.clip(index[used], 0, length - 1)
    return Taps(places, weights[used].astype(np.float32))


def to_linear(image: Array) -> Array:
    """Light intensities of sRGB values; float32, [0, 1] to [0, 1], values outside continue smoothly.

    Source: IEC 61966-2-1.
    """
    bright = np.power(np.maximum((image + np.float32(0.055)) / np.float32(1.055), 0), np.float32(2.4))
    return np.where(image > np.float32(0.04045), bright, image / np.float32(12.92))


def to_srgb(image: Array) -> Array:
    """sRGB values of light intensities; the inverse of `to_linear`."""
    bright = np.power(np.maximum(image, 0), np.float32(1 / 2.4)) * np.float32(1.055) - np.float32(0.055)
    return np.where(image > np.float32(0.0031308), bright, image * np.float32(12.92))


def _along_rows(image: Array, taps: Taps) -> Array:
    """Vertical resampling: whole rows are weighted and added."""
    shape = (-1,) + (1,) * (image.ndim - 1)
    result = image[taps.places[0]]
    result *= taps.weights[0].reshape(shape)
    term = np.empty_like(result)
    for places, weights in zip(taps.places[1:], taps.weights[1:]):
        np.take(image, places, axis=0, out=term, mode="clip")
        term *= weights.reshape(shape)
        result += term
    return result


def _along_columns(image: Array, taps: Taps) -> Array:
    """Horizontal resampling, a row of pixels at a time so that the gathered pixels stay in the cache."""
    swapped = np.ascontiguousarray(image.swapaxes(0, 1))
    return np.ascontiguousarray(_along_rows(swapped, taps).swapaxes(0, 1))


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[Kernel, tuple[float, Callable[[Any], NDArray[np.float64]]]] = {
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
