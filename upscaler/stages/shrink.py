"""Soft thresholds for bands of detail: noise and texture that a place has no room for go.

As in BayesShrink a threshold is `noise variance / signal deviation`, from local means of squares. Noise is what exceeds
the room that a place has, and what is seen in flat surroundings. Room is a variance; where it is compared with one, both
are those of an orthonormal wavelet transform, in which a signal's deviation doubles from octave to octave.

Source: Chang, Yu, Vetterli 2000, Adaptive wavelet thresholding for image denoising and compression; Coifman, Donoho
1995, Translation-invariant de-noising.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pywt

from ..arrays.pyramid import double, mean_square, weave
from ..arrays.types import Array
from ..arrays.ycc import smooth

_WAVELET = "db2"
_SPINS = ((0, 0), (3, 5))  # cycle spinning: both parities on both axes, and other phases at each level
_FLOOR_LEVELS = 5  # how wide the surroundings are that show the noise
_WHITE = 1 / 3  # variance of a wavelet coefficient of the finest octave over the pyramid's, for white noise, over four
_FLAT = np.float32((1 / 255) ** 2)
_TINY = np.float32((0.03 / 255) ** 2)  # signal has this variance in any case


def pyramid_limit(planes: Sequence[Sequence[Array]], room: Array, octave: int, strength: float) -> Array:
    """The threshold (h / 2, w / 2) for an octave of a pyramid, of planes that are judged as one.

    Args:
        planes: each in phases.
        room: (h / 2, w / 2).
    """
    gain = 4**octave * _WHITE
    energy = mean_square(planes[0])
    for plane in planes[1:]:
        energy += mean_square(plane)
    energy = smooth(energy, 1)
    energy *= np.float32(gain / len(planes))
    # The floor is wide: it is found on a grid twice as coarse, which takes a quarter of the work.
    flat = _flat(room[::2, ::2])
    floor = _floor(energy[::2, ::2] * flat, flat, _FLOOR_LEVELS - 1 - octave)
    floor = weave(double(floor))[: energy.shape[0], : energy.shape[1]]
    limit = _limit(energy, floor, room, strength)
    limit *= np.float32(gain**-0.5)
    return limit


def shrink(
    planes: Sequence[Array], room: Array, octave: int, *, levels: int, strength: float, tone: float, spins: int
) -> list[Array]:
    """Planes (h, w), halved `octave` times, with thresholds on the octaves below, by a cycle-spun wavelet transform.

    Args:
        room: (h, w), of the octave above.
        levels: the last octave that is judged.
        tone: the share that is kept of what lies below it.
        spins: how many shifted transforms are averaged, 1 or 2.
    """
    height, width = planes[0].shape
    down, right = (max(shifts) for shifts in zip(*_SPINS[:spins]))

    def spin(planes: Array) -> Array:
        framed = np.pad(planes, ((0, 0), (down, down), (right, right)), "edge")
        starts = [(down - row, right - column) for row, column in _SPINS[:spins]]
        return np.stack([framed[:, y : y + down + height, x : x + right + width] for y, x in starts], axis=1)

    def judge(spun: Array, rooms: Array, level: int) -> Array:
        """(planes, spins, h, w) and (spins, h, w), of a level's size."""
        low, details = cast("tuple[Array, tuple[Array, ...]]", pywt.dwt2(spun, _WAVELET, "symmetric"))
        rooms = _room_below(rooms, *low.shape[-2:])
        bands = _threshold(np.stack(details), rooms, level, strength)
        low = judge(low, rooms, level + 1) if level < levels else low * np.float32(tone)
        result = cast(Array, pywt.idwt2((low, tuple(bands)), _WAVELET, "symmetric"))
        return result[..., : spun.shape[-2], : spun.shape[-1]]

    spun = judge(spin(np.stack(planes) * np.float32(2**octave)), spin(room[None])[0], octave + 1)
    results = [np.zeros_like(plane) for plane in planes]
    for result, shifted in zip(results, spun):
        for plane, (row, column) in zip(shifted, _SPINS):
            result += plane[row : row + height, column : column + width]
        result *= np.float32(0.5**octave / spins)
    return results


def _room_below(room: Array, height: int, width: int) -> Array:
    """The room of the next level, whose transform adds a coefficient before the first one."""
    return np.pad(room[:, ::2, ::2], ((0, 0), (1, 1), (1, 1)), "edge")[:, :height, :width] * np.float32(4)


def _threshold(bands: Array, room: Array, level: int, strength: float) -> Array:
    """Bands (3, planes, spins, h, w), thresholded in place."""
    square = bands * bands
    energy = smooth(square, 2)
    flat = _flat(room)
    square *= flat
    limit = _limit(energy, _floor(square, flat, _FLOOR_LEVELS - level), room, strength)
    excess = np.minimum(bands, limit)
    bands -= np.maximum(excess, -limit, out=excess)
    return bands


def _flat(room: Array) -> Array:
    """How flat places are, 0 to 1."""
    flat = room + _FLAT
    return np.divide(_FLAT, flat, out=flat)


def _floor(flat_energy: Array, flat: Array, levels: int) -> Array:
    """The variance of noise as flat surroundings show it."""
    levels = max(levels, 1)
    floor = smooth(flat_energy, levels)
    floor /= smooth(flat, levels) + np.float32(0.05)
    return floor


def _limit(energy: Array, floor: Array, room: Array, strength: float) -> Array:
    """The threshold; `energy` and `floor` are overwritten."""
    noise = np.minimum(energy, floor, out=floor)
    np.maximum(energy - room, noise, out=noise)
    energy -= noise
    energy += _TINY
    np.sqrt(energy, out=energy)
    noise *= np.float32(2 * strength)
    noise /= energy
    return noise
