"""The grid of equal tiles that costs a model least."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..geometry import NO_WRAP, Order, Size, Wrap
from .spans import Axis, spread, spread_around
from .tiles import Plan

_ATTENTION_AREA = 512 * 512


class TileSides(NamedTuple):
    """What sides of a tile a model likes, in pixels.

    Attributes:
        least: below it the model draws worse; a tile is smaller only where the picture is.
        largest: above it the model draws worse, or does not fit.
        attention: cost of its attention, which grows with the square of the area, as a part of all the rest for a tile
            of 512 x 512; 0 where there is none.
    """

    least: int = 512
    largest: int = 640
    attention: float = 0.0


DEFAULT_SIDES = TileSides()


class Cut(NamedTuple):
    """How a picture is cut, whatever the sides of a tile.

    Attributes:
        overlap: what neighbours share, in pixels.
        feather: width of the cross-fade between them, in pixels.
        multiple: of the sides of a tile and of where it lies, in pixels.
        order: of the waves.
        wrap: which axes are circles.
    """

    overlap: int
    feather: float
    multiple: int = 1
    order: Order = "independent"
    wrap: Wrap = NO_WRAP


def grid(size: Size, sides: TileSides, cut: Cut) -> Plan:
    """The cheapest grid of equal tiles over a picture; its far sides may lie up to `multiple - 1` pixels beyond it.

    Neighbours share about `cut.overlap` pixels: less than it by under two multiples, because sides are rounded down, and
    more where a tile would be smaller than `sides.least`. There is never a thin remainder.

    >>> plan = grid(Size(2048, 1024), TileSides(512, 640), Cut(64, 32, multiple=8))
    >>> len(plan.columns), len(plan.rows), plan.tile
    (4, 2, Size(width=560, height=544))
    """
    width, height = (_length(side, circle, cut) for side, circle in zip(size, cut.wrap))
    _, columns, rows = min(
        (x.tiles * y.tiles * _cost(x.side, y.side, sides.attention), x, y)
        for x in _choices(width, sides, cut, cut.wrap.x)
        for y in _choices(height, sides, cut, cut.wrap.y)
    )
    return Plan(_axis(height, rows, cut, cut.wrap.y), _axis(width, columns, cut, cut.wrap.x), cut.order, wrap=cut.wrap)


def counted_grid(size: Size, columns: int, rows: int, cut: Cut) -> Plan:
    """A grid of so many columns and rows of equal tiles, whose neighbours share at least `cut.overlap`, or half of a tile."""

    def axis(length: int, tiles: int, circle: bool) -> Axis:
        length = _length(length, circle, cut)
        joints = tiles if circle else tiles - 1
        side = _align(-(-(length + joints * cut.overlap) // tiles), cut.multiple)
        side = side if circle else min(side, length)
        shared = min(cut.overlap, side // 2 // cut.multiple * cut.multiple)
        rest = length if circle else length - shared
        return _axis(length, _Choice(max(-(-rest // (side - shared)), 1), side), cut, circle)

    return Plan(axis(size.height, rows, cut.wrap.y), axis(size.width, columns, cut.wrap.x), cut.order, wrap=cut.wrap)


class _Choice(NamedTuple):
    """So many tiles of that side along an axis."""

    tiles: int
    side: int


def _length(length: int, circle: bool, cut: Cut) -> int:
    """What tiles have to cover: beyond a picture there is room for whole cells of the model, in a circle there is none."""
    return length if circle else _align(length, cut.multiple)


def _choices(length: int, sides: TileSides, cut: Cut, circle: bool) -> list[_Choice]:
    """As few tiles as the largest side allows, and the next more: smaller ones may cost less attention."""
    largest = max(sides.largest // cut.multiple * cut.multiple, cut.multiple)
    if circle:
        overlap = min(cut.overlap, largest // 2)
        few = max(math.ceil(length / max(largest - overlap - cut.multiple, 1)), 1)
        return [_Choice(tiles, _align(-(-length // tiles) + overlap, cut.multiple)) for tiles in (few, few + 1)]
    if length <= largest:
        return [_Choice(1, length)]
    overlap = min(cut.overlap, largest // 2)
    least = min(_align(sides.least, cut.multiple), largest)
    few, many = (max(math.ceil(rest / (largest - overlap)), 2) for rest in (length - overlap, length))
    choices: list[_Choice] = []
    for tiles in range(few, many + 1):
        side = (length + (tiles - 1) * overlap) // tiles // cut.multiple * cut.multiple
        enough = _align(-(-length // tiles), cut.multiple)  # covers everything even without an overlap
        choices.append(_Choice(tiles, max(side, enough, least)))
    return choices


def _axis(length: int, choice: _Choice, cut: Cut, circle: bool) -> Axis:
    cover = spread_around if circle else spread
    return cover(length, choice.tiles, choice.side, feather=cut.feather, multiple=cut.multiple)


def _cost(width: int, height: int, attention: float) -> float:
    area = width * height
    return area * (1 + attention * area / _ATTENTION_AREA)


def _align(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
