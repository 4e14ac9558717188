"""Sizes and boxes in pixels, and the words for what can be done with tiles: what every layer may speak of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Order = Literal["independent", "chess", "linear"]
SeamMode = Literal["none", "band", "half-tile", "half-tile+intersections", "auto"]
TileMode = Literal["tiles", "joint"]
WrapMode = Literal["none", "x", "y", "both"]

MOST_PIXELS = 65_536_000_000
"""What a limit to the pixels of an input can be raised to: 256000 x 256000."""
MAX_PIXELS = 256_000_000
"""Largest input by default, 16000 x 16000: above any camera, and decoded it takes 3 GB (4 GB with alpha)."""
PNG_AS_A_WHOLE = 1 << 26
"""Pixels of a PNG up to which it is held as a whole to be written; a larger one is written from strips."""


class Size(NamedTuple):
    """Width and height of a picture in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    def fit(self, side: int) -> Size:
        """A size of the same shape whose longer side is at most `side`; this one where it fits already.

        >>> Size(8000, 2000).fit(1000), Size(300, 200).fit(1000)
        (Size(width=1000, height=250), Size(width=300, height=200))
        """
        factor = min(side / max(self), 1.0)
        return Size(*(max(round(length * factor), 1) for length in self))


class Wrap(NamedTuple):
    """Which axes of a picture are circles: its right side goes on at its left one, its bottom at its top."""

    x: bool = False
    y: bool = False

    @staticmethod
    def of(mode: WrapMode) -> Wrap:
        """By the name of the setting."""
        return Wrap(mode in ("x", "both"), mode in ("y", "both"))


NO_WRAP = Wrap()


class Part(NamedTuple):
    """A part of a box that lies inside a picture: where, and where in the box it begins."""

    inside: Box
    x: int
    y: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the part into an array of the box's pixels."""
        return Box(self.x, self.y, self.x + self.inside.size.width, self.y + self.inside.size.height).slices


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

    @staticmethod
    def enclosing(left: float, top: float, right: float, bottom: float, *, within: Size) -> Box:
        """The smallest box of whole pixels that holds these sides, at least one pixel large, cut to a picture's size.

        >>> Box.enclosing(0.5, 2, 3.1, 4, within=Size(8, 8))
        Box(left=0, top=2, right=4, bottom=4)
        """
        x, y = min(int(left), within.width - 1), min(int(top), within.height - 1)
        right, bottom = min(math.ceil(right), within.width), min(math.ceil(bottom), within.height)
        return Box(x, y, max(right, x + 1), max(bottom, y + 1))

    def rescale(self, size: Size, to: Size) -> Box:
        """This part of a picture of `size` on the pixels of a copy of it that has the size `to`: all that it touches."""
        x, y = to.width / size.width, to.height / size.height
        return Box.enclosing(self.left * x, self.top * y, self.right * x, self.bottom * y, within=to)

    def move(self, x: int, y: int) -> Box:
        """This box `x` further to the right and `y` further down."""
        return Box(self.left + x, self.top + y, self.right + x, self.bottom + y)

    def meet(self, other: Box) -> Box | None:
        """What is inside both boxes, if anything is.

        >>> Box(0, 0, 4, 4).meet(Box(2, 1, 9, 3))
        Box(left=2, top=1, right=4, bottom=3)
        """
        if not self.intersects(other):
            return None
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def parts(self, size: Size, wrap: Wrap) -> list[Part]:
        """The parts of this box inside a picture of that size: what lies beyond a side goes on at the other, or is left out.

        >>> Box(6, 0, 11, 4).parts(Size(8, 4), Wrap(x=True))
        [Part(inside=Box(left=6, top=0, right=8, bottom=4), x=0, y=0), Part(inside=Box(left=0, top=0, right=3, bottom=4), x=2, y=0)]
        """
        return [
            Part(Box(left, top, right, bottom), x, y)
            for top, bottom, y in _stretches(self.top, self.bottom, size.height, wrap.y)
            for left, right, x in _stretches(self.left, self.right, size.width, wrap.x)
        ]

    def intersects(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def _stretches(start: int, stop: int, length: int, circle: bool) -> Iterator[tuple[int, int, int]]:
    """Start and stop of each stretch of [start, stop) on an axis, and how far from `start` it begins."""
    if not circle:
        if max(start, 0) < min(stop, length):
            yield max(start, 0), min(stop, length), max(-start, 0)
        return
    at = start
    while at < stop:
        inside = at % length
        count = min(length - inside, stop - at)
        yield inside, inside + count, at - start
        at += count
