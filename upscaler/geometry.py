"""Sizes and boxes in pixels, and the words for what can be done with tiles: what every layer may speak of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Order = Literal["independent", "chess", "linear"]
SeamMode = Literal["none", "band", "half-tile", "half-tile+intersections", "auto"]

MAX_PIXELS = 256_000_000
"""Largest input by default, 16000 x 16000: above any camera, and decoded it takes 3 GB (4 GB with alpha)."""


class Size(NamedTuple):
    """Width and height of a picture in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Box(NamedTuple):
    """A half-open rectangle in pixels: `left <= x < right`, `top <= y < bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this box into an array whose first axes are rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scale(self, factor: int) -> Box:
        return Box(*(side * factor for side in self))

    def grow(self, margin: int, within: Size) -> Box:
        """This box with `margin` pixels more on each side, cut to a picture of size `within`."""
        return Box(
            max(self.left - margin, 0),
            max(self.top - margin, 0),
            min(self.right + margin, within.width),
            min(self.bottom + margin, within.height),
        )

    @staticmethod
    def around(boxes: Iterable[Box]) -> Box:
        """The smallest box that holds all of these; there is at least one.

        >>> Box.around([Box(0, 0, 2, 2), Box(5, 1, 6, 9)])
        Box(left=0, top=0, right=6, bottom=9)
        """
        lefts, tops, rights, bottoms = zip(*boxes)
        return Box(min(lefts), min(tops), max(rights), max(bottoms))

    def intersects(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )
