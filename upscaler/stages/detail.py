"""Keeps what a refiner added to a picture true to it: tone and colour locked, noise and invented texture removed.

Everything works on the difference between the refined picture and its reference, so that where a refiner changed
nothing, nothing is changed, bit for bit. All statistics are local: see `reach`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pywt
from numpy.typing import NDArray

from ..arrays import ycc as planes

Array = NDArray[np.float32]

_WAVELET = "db2"
_TAPS = 4
_SHIFTS = ((0, 0), (3, 5))  # cycle spinning: both parities on both axes, and other phases at each level
_CHROMA_SHARE = 0.125  # detail of chroma as a part of luma's
_ACTIVITY_LEVELS = 3
_FLOOR_LEVELS = 5

# Set by what survives of a dozen photographs that "refine" their own enlarged quarter or a blurred copy: at the default
# strength more than 45 dB, and more than nine tenths of the detail's energy in textured areas.
_TEXTURE = np.float32((2 / 255) ** 2)  # variance of detail at which a place begins to count as textured
_GROWTH = np.float32(32)  # how much of a textured place's variance each band may add
_FLAT = np.float32((1 / 255) ** 2)
_TINY = np.float32((0.1 / 255) ** 2)


def filter_detail(refined: Array, reference: Array, *, scale: float, color: float = 1.0, denoise: float = 0.5) -> Array:
    """`refined` with the tone of `reference` and without the noise and the texture that do not belong there.

    Args:
        refined, reference: (H, W, 3) float32; the reference is what the refiner was given.
        scale: how many times larger the picture is than its input: decides which bands are tone and which detail.
        color: strength of `lock_tone`, 0 to 1.
        denoise: strength of `shrink_detail`, 0 to 1.
    """
    levels = lock_levels(scale)
    refined = lock_tone(refined, reference, levels=levels, strength=color)
    return shrink_detail(refined, reference, levels=max(levels - 1, 1), strength=denoise)


def has_nothing_to_refine(reference: Array, *, color: float = 1.0, denoise: float = 0.5) -> bool:
    """Whether `filter_detail` would take away whatever a refiner adds, so that less than half of 1/255 is left."""
    return color == 1 and denoise >= 0.5 and bool((reference == reference[:1, :1]).all())


def lock_levels(scale: float) -> int:
    """The level below which a picture enlarged `scale` times is locked: three octaves below the input's finest."""
    return max(round(math.log2(scale)), 0) + 3


def reach(scale: float) -> int:
    """How far, in pixels, a result of `filter_detail` depends on its surroundings; a multiple of its alignment."""
    levels = lock_levels(scale)
    block = 1 << (levels - 1)
    lock = 2 * block - 1
    transforms = 2 * (_TAPS - 1) * (block - 1)
    statistics = 4 * block + 2**_FLOOR_LEVELS
    return -(-(lock + transforms + statistics) // block) * block


def lock_tone(refined: Array, reference: Array, *, levels: int, strength: float = 1.0) -> Array:
    """`refined` with the low band of `reference`: all that varies slower than about `2^levels` pixels.

    Chroma is locked two levels finer than luma: colour is the input's, detail is the refiner's.

    Args:
        refined, reference: (H, W, 3) float32.
        strength: 0 (nothing) to 1.

    Source: StableSR's wavelet colour fix (https://arxiv.org/abs/2305.07015), on luma and chroma.
    """
    if strength == 0:
        return refined
    luma, *chroma = planes.split(reference - refined)
    low = [planes.smooth(luma, levels), *(planes.smooth(plane, max(levels - 2, 1)) for plane in chroma)]
    return refined + np.float32(strength) * planes.join(low)


def shrink_detail(refined: Array, reference: Array, *, levels: int, strength: float = 0.5) -> Array:
    """`refined` without that part of the detail it adds to `reference` which is noise or invented.

    The added detail is thresholded softly in each band of a cycle-spun wavelet transform. As in BayesShrink the
    threshold is `noise variance / signal deviation`, from local means of squares. Noise is what exceeds the detail
    that the reference has at that place (where it is flat, no texture can grow), and what is seen in flat
    surroundings. Chroma may hold an eighth of luma's detail.

    Args:
        refined, reference: (H, W, 3) float32.
        levels: how many octaves, from the finest, are judged.
        strength: 0 (nothing) to 1; 0.5 is BayesShrink's threshold, 1 twice that.

    Source: Chang, Yu, Vetterli 2000, Adaptive wavelet thresholding for image denoising and compression; Coifman,
    Donoho 1995, Translation-invariant de-noising.
    """
    if strength == 0:
        return refined
    added = planes.split(refined - reference)
    luma = planes.split(reference)[0]
    activity = planes.smooth(np.square(luma - planes.smooth(luma, _ACTIVITY_LEVELS)), _ACTIVITY_LEVELS)
    allowed = _GROWTH * activity * activity / (activity + _TEXTURE)
    luma, *chroma = added
    change = [_shrink(luma, allowed, levels, strength, _SHIFTS) - luma]
    allowed *= np.float32(_CHROMA_SHARE)
    change += [_shrink(plane, allowed, levels, strength, _SHIFTS[:1]) - plane for plane in chroma]
    return refined + planes.join(change)


def _shrink(plane: Array, allowed: Array, levels: int, strength: float, shifts: Sequence[tuple[int, int]]) -> Array:
    """A plane (h, w) whose wavelet coefficients are thresholded; `allowed` is the variance that a band may have."""
    total = np.zeros_like(plane)
    for down, right in shifts:
        margins = (down, 0), (right, 0)
        shifted = _shrink_levels(np.pad(plane, margins, "edge"), np.pad(allowed, margins, "edge"), 1, levels, strength)
        total += shifted[down:, right:]
    total *= np.float32(1 / len(shifts))
    return total


def _shrink_levels(plane: Array, allowed: Array, level: int, levels: int, strength: float) -> Array:
    """The same from one level on; `plane` and `allowed` have that level's size."""
    low, details = cast("tuple[Array, tuple[Array, ...]]", pywt.dwt2(plane, _WAVELET, "symmetric"))
    height, width = low.shape
    # The transform adds a coefficient before the first one.
    room = np.pad(allowed[::2, ::2], ((1, 1), (1, 1)), "edge")[:height, :width] * np.float32(4)
    bands = _threshold(details, room, level, strength)
    if level < levels:
        low = _shrink_levels(low, room, level + 1, levels, strength)
    result = cast(Array, pywt.idwt2((low, bands), _WAVELET, "symmetric"))
    return result[: plane.shape[0], : plane.shape[1]]


def _threshold(bands: Sequence[Array], allowed: Array, level: int, strength: float) -> list[Array]:
    """Bands of coefficients, thresholded softly at `noise variance / signal deviation`."""
    flat = _FLAT / (_FLAT + allowed)
    wide = max(_FLOOR_LEVELS - level, 1)
    flatness = planes.smooth(flat, wide) + np.float32(0.05)
    result: list[Array] = []
    for band in bands:
        square = band * band
        energy = planes.smooth(square, 2)
        floor = planes.smooth(square * flat, wide) / flatness
        noise = np.maximum(energy - allowed, np.minimum(energy, floor))
        limit = np.float32(2 * strength) * noise / np.sqrt(energy - noise + _TINY)
        result.append(band - np.clip(band, -limit, limit))
    return result
