"""Where a picture that goes around begins: a place told from what it shows, so that it moves with the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry import Wrap
from .strips import strips
from .types import Image

Keys = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)


def beginning(image: Image, wrap: Wrap, *, step: int = 1) -> tuple[int, int]:
    """Column and row where a picture begins on the axes that are circles; 0 on the others.

    A rolled picture begins at the same content: of all rotations of its columns, and of its rows, the one is taken that is
    first in an order of their contents. A picture that repeats within itself may begin at any of its repetitions.

    Args:
        image: (H, W, 3) float32.
        step: it begins at a multiple of so many pixels; at 0 on an axis whose length is none.
    """
    height, width = image.shape[:2]
    x = _first_rotation(_keys(image, 0, 0 if wrap.y else 1), step) if wrap.x and width % step == 0 else 0
    y = _first_rotation(_keys(image, 1, 1, start=x), step) if wrap.y and height % step == 0 else 0
    return x, y


def _keys(image: Image, axis: int, ordered: int, *, start: int = 0) -> Keys:
    """A number for each column (`axis` 0) or row (1) of a picture that stands for what it shows.

    `ordered` is 1 where the order of its pixels counts, from `start` on, and 0 where only what they are does.
    """
    height, width = image.shape[:2]
    length = (height, width)[axis]
    factors = ((np.arange(length, dtype=np.int64) - start) % length * 2 * ordered + 1).astype(np.uint64)
    keys = np.zeros((width, height)[axis], np.uint64)
    for rows in strips(height, width):
        mixed = _mixed(np.ascontiguousarray(image[rows], np.float32).view(np.uint32).astype(np.uint64))
        if axis == 0:
            keys += (mixed * factors[rows, None]).sum(axis=0, dtype=np.uint64)
        else:
            keys[rows] = (mixed * factors).sum(axis=1, dtype=np.uint64)
    return keys


def _mixed(samples: Keys) -> Keys:
    """(h, w, 3) samples to a number for each pixel, (h, w), that changes throughout with any of their bits."""
    mixed = np.zeros(samples.shape[:2], np.uint64)
    for channel in range(samples.shape[2]):
        mixed = (mixed ^ samples[..., channel]) * _ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _first_rotation(keys: Keys, step: int) -> int:
    """Where the rotation of `keys` begins that is first in their order, among the multiples of `step`.

    Source: Shiloach 1981, Fast canonization of circular strings.
    """
    groups = keys.reshape(-1, step).tolist()
    length, one, other, same = len(groups), 0, 1, 0
    while one < length and other < length and same < length:
        left, right = groups[(one + same) % length], groups[(other + same) % length]
        if left == right:
            same += 1
            continue
        if left > right:
            one += same + 1
        else:
            other += same + 1
        other += one == other
        same = 0
    return min(one, other) * step
