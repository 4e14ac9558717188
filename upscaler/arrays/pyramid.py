"""Planes by octaves: halved, doubled, and held in phases, so that all this work is on contiguous arrays.

The phases of a plane (h, w) of even sides are its four subsampled planes (h / 2, w / 2), in the order of `PHASES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .types import Array

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""First row and first column of each phase."""


def part(plane: Array) -> list[Array]:
    """The phases of a plane (h, w), as copies."""
    return [plane[row::2, column::2].copy() for row, column in PHASES]


def weave(phases: Sequence[Array]) -> Array:
    """The plane (h, w) whose phases these are."""
    height, width = phases[0].shape
    plane = np.empty((2 * height, 2 * width), np.float32)
    for (row, column), phase in zip(PHASES, phases):
        plane[row::2, column::2] = phase
    return plane


def halve(phases: Sequence[Array]) -> Array:
    """The low band (h / 2, w / 2) of a plane given by its phases: [1, 2, 1] / 4 along both axes, at even places.

    Edges are repeated.

    Source: Burt, Adelson 1983, The Laplacian pyramid as a compact image code; with three taps instead of five.
    """
    even, odd = _tent(phases[0], phases[1], axis=1), _tent(phases[2], phases[3], axis=1)
    low = _tent(even, odd, axis=0)
    low *= np.float32(1 / 16)
    return low


def double(low: Array) -> list[Array]:
    """The phases of a plane of twice the size, interpolated linearly; the first is `low` itself, not a copy."""
    right = _between(low, axis=1)
    return [low, right, _between(low, axis=0), _between(right, axis=0)]


def mean_square(phases: Sequence[Array]) -> Array:
    """The mean of squares of each 2x2 pixels, (h / 2, w / 2)."""
    total = phases[0] * phases[0]
    square = np.empty_like(total)
    for phase in phases[1:]:
        np.multiply(phase, phase, out=square)
        total += square
    total *= np.float32(0.25)
    return total


# Along rows the neighbours are added as if the plane were one long row, which is one pass over contiguous memory; the
# first or last column, where two rows meet, is then set right.


def _tent(even: Array, odd: Array, *, axis: int) -> Array:
    """[1, 2, 1] at the even places of an axis."""
    result = even + even
    result += odd
    if axis == 0:
        result[1:] += odd[:-1]
        result[0] += even[0]
    else:
        first = result[:, 0] + even[:, 0]
        result.reshape(-1)[1:] += odd.reshape(-1)[:-1]
        result[:, 0] = first
    return result


def _between(plane: Array, *, axis: int) -> Array:
    """The mean of each sample and the next one along an axis; the last one has no next and stays as it is."""
    result = np.empty_like(plane)
    row, target = plane.reshape(-1), result.reshape(-1)
    step = 1 if axis else plane.shape[1]
    np.add(row[:-step], row[step:], out=target[:-step])
    target[:-step] *= np.float32(0.5)
    if axis:
        result[:, -1] = plane[:, -1]
    else:
        result[-1] = plane[-1]
    return result
