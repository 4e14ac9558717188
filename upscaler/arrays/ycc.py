"""Luma and chroma planes of a picture, and their low band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


def split(image: Array) -> list[Array]:
    """Luma and two chroma differences of an RGB picture or difference (h, w, 3), as JPEG has them (ITU-T T.871).

    >>> luma, blue, red = split(np.array([[[1, 1, 1], [0, 0, 0.5]]], np.float32))
    >>> [[round(float(value), 3) for value in plane[0]] for plane in (luma, blue, red)]
    [[1.0, 0.057], [0.0, 0.25], [0.0, -0.041]]
    """
    return _mix(_TO_YCC, [image[..., channel] for channel in range(3)])


def join(planes: Sequence[Array]) -> Array:
    """The RGB picture (h, w, 3) of what `split` gave; zeros stay exactly zero."""
    return np.stack(_mix(_TO_RGB, planes), axis=-1)


def smooth(plane: Array, levels: int) -> Array:
    """The low band of a plane (h, w): `levels` passes of [1, 2, 1] / 4 along both axes, their step doubling.

    Like a Gaussian of sigma 0.71, 1.58, 3.24, 6.52, 13.06 for 1 to 5 levels; it reaches 2^levels - 1 pixels; edges
    are repeated. A plane of zeros stays exactly zero.

    Source: the "a trous" transform; as a colour fix in StableSR (https://arxiv.org/abs/2305.07015).
    """
    for level in range(levels):
        plane = _blur(_blur(plane, 1 << level, axis=0), 1 << level, axis=1)
    return plane


def _blur(plane: Array, step: int, *, axis: int) -> Array:
    result = plane * np.float32(2)
    source, target = plane.swapaxes(0, axis), result.swapaxes(0, axis)
    target[step:] += source[:-step]
    target[:step] += source[:1]
    target[:-step] += source[step:]
    target[-step:] += source[-1:]
    result *= np.float32(0.25)
    return result


def _mix(matrix: Array, planes: Sequence[Array]) -> list[Array]:
    # Written out, because a matrix product may round differently when the picture is cut into strips.
    return [a * planes[0] + b * planes[1] + c * planes[2] for a, b, c in matrix]
