"""Pictures turned, scaled and moved by an affine map."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as Pillow

from ..geometry import Size
from .resample import resample
from .types import Array

_KERNEL = 2  # pixels that a bicubic filter reaches


class Affine:
    """The map `z -> turn * z + move` of the plane, with points as complex numbers x + iy: turned, scaled and moved.

    Coordinates are in pixels, and 0 is the outer side of the first one.
    """

    __slots__ = ("move", "turn")

    def __init__(self, turn: complex, move: complex) -> None:
        self.turn, self.move = turn, move

    @staticmethod
    def between(here: list[complex], there: list[complex]) -> Affine:
        """The one that brings some points closest to others, in the sum of squares; neither are all one point.

        Source: least squares in closed form, Umeyama 1991 (https://doi.org/10.1109/34.88573) without mirroring.
        """
        middle, goal = sum(here) / len(here), sum(there) / len(there)
        product = sum((z - middle).conjugate() * (w - goal) for z, w in zip(here, there))
        turn = product / sum(abs(z - middle) ** 2 for z in here)
        return Affine(turn, goal - turn * middle)

    def __call__(self, z: complex) -> complex:
        return self.turn * z + self.move

    @property
    def scale(self) -> float:
        return abs(self.turn)

    @property
    def inverse(self) -> Affine:
        return Affine(1 / self.turn, -self.move / self.turn)

    def moved(self, by: complex) -> Affine:
        """This map, and then a move."""
        return Affine(self.turn, self.move + by)


def warp(image: Array, size: Size, source: Affine, *, edge: bool) -> Array:
    """The part of an image that a map leads to, (size.height, size.width, C) float32.

    The image is brought to the scale of the result first, so that nothing aliases, and then turned and moved.

    Args:
        image: (h, w, C) float32.
        source: from places in the result to places in the image.
        edge: whether its borders go on beyond them; else there is 0.
    """
    height, width = image.shape[:2]
    if source.scale != 1:
        scaled = Size(*(max(math.ceil(side / source.scale), 1) for side in (width, height)))
        kernel = "lanczos" if source.scale > 1 else "bicubic"
        image = resample(image, scaled, kernel=kernel, ratio=(source.scale, source.scale))
        source = Affine(source.turn / source.scale, source.move / source.scale)
        height, width = image.shape[:2]
    if edge:
        corners = [source(complex(x, y)) for x in (0, size.width) for y in (0, size.height)]
        xs, ys = [z.real for z in corners], [z.imag for z in corners]
        left, above, right, below = (
            max(math.ceil(beyond) + _KERNEL, 0) for beyond in (-min(xs), -min(ys), max(xs) - width, max(ys) - height)
        )
        image = np.pad(image, ((above, below), (left, right), (0, 0)), mode="edge")
        source = source.moved(complex(left, above))
    a, b = source.turn.real, source.turn.imag
    numbers = (a, -b, source.move.real, b, a, source.move.imag)
    planes = (
        Pillow.fromarray(np.ascontiguousarray(image[..., channel])).transform(
            size, Pillow.Transform.AFFINE, numbers, resample=Pillow.Resampling.BICUBIC
        )
        for channel in range(image.shape[2])
    )
    return np.stack([np.asarray(plane, np.float32) for plane in planes], axis=2)
