"""Where tiles lie and where their windows switch: pure values, planned per axis and combined by outer product.

A plan is two tuples of spans, one for each axis. A span says where a box lies on its axis and where its window
switches on and off; the window of a tile is the product of its two one-dimensional windows. Neighbouring spans of
a covering share the position of their switch, so that their windows telescope to exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Order = Literal["independent", "chess", "linear"]


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

    def intersects(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile: the box `[start, stop)`, and where its window switches on and off, in pixels.

    `rise` and `fall` are the middles of the two switches, `feather` is how wide a switch is (0 is a hard one).
    `None` means that the window never switches on that side, because the box ends where the picture does.
    """

    start: int
    stop: int
    rise: float | None = None
    fall: float | None = None
    feather: float = 0.0


Axis = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """The product of a row span and a column span, with its place in the plan's grid."""

    row: int
    column: int
    y: Span
    x: Span

    @property
    def box(self) -> Box:
        return Box(self.x.start, self.y.start, self.x.stop, self.y.stop)


@dataclass(frozen=True, slots=True)
class Plan:
    """All tiles of one pass over a picture, row by row.

    Attributes:
        rows, columns: the spans of the two axes; every pair of them is a tile.
        order: how tiles are grouped into waves.
        where: which pairs of (row, column) take part; `None` is all.
    """

    rows: Axis
    columns: Axis
    order: Order = "independent"
    where: frozenset[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns) if self.where is None else len(self.where)

    def __iter__(self) -> Iterator[Tile]:
        for row, y in enumerate(self.rows):
            for column, x in enumerate(self.columns):
                if self.where is None or (row, column) in self.where:
                    yield Tile(row, column, y, x)

    def only(self, keep: Callable[[Tile], bool]) -> Plan:
        """The same plan with the tiles for which `keep` is true; all else stays where it is."""
        return replace(self, where=frozenset((tile.row, tile.column) for tile in self if keep(tile)))

    def touching(self, box: Box | None) -> Plan:
        """The same plan with the tiles that reach into `box`; all of them if it is `None`."""
        return self if box is None else self.only(lambda tile: tile.box.intersects(box))

    def reach(self, box: Box) -> Box:
        """What `box` of the result depends on: itself and every tile that reaches into it."""
        boxes = [box, *(tile.box for tile in self.touching(box))]
        lefts, tops, rights, bottoms = zip(*boxes)
        return Box(min(lefts), min(tops), max(rights), max(bottoms))

    def waves(self) -> list[list[Tile]]:
        """Tiles grouped so that a wave depends only on the waves before it.

        `independent` is one wave; `chess` is the four colours of a two by two grid, whose tiles never touch each
        other; `linear` is one tile a wave.
        """
        tiles = list(self)
        if self.order == "linear":
            return [[tile] for tile in tiles]
        if self.order == "independent":
            return [tiles] if tiles else []
        colours = ((0, 0), (1, 1), (0, 1), (1, 0))
        waves = [[tile for tile in tiles if (tile.row % 2, tile.column % 2) == colour] for colour in colours]
        return [wave for wave in waves if wave]


def cover(length: int, tile: int, overlap: int, *, feather: float, multiple: int = 1) -> Axis:
    """Equal spans, evenly spread, that cover `[0, length)`; the last one ends flush with it.

    All arguments are in pixels; `length` and `tile` are multiples of `multiple`, and so is every start. Neighbours
    overlap by at least `overlap` (< `tile`) and there is never a thin remainder. A picture no longer than a tile
    gets one span of its own length.
    """
    if length <= tile:
        return (Span(0, length),)
    cells, size, shared = length // multiple, tile // multiple, -(-overlap // multiple)
    count = -(-(cells - shared) // (size - shared))
    starts = [i * (cells - size) // (count - 1) * multiple for i in range(count)]
    return _spans(starts, tile, [(left + tile + right) / 2 for left, right in zip(starts, starts[1:])], feather)


def shift_half(axis: Axis, *, multiple: int = 1) -> Axis:
    """A covering of the same length whose joints lie in the middle of the spans of `axis`, none on a joint of it."""
    if len(axis) == 1:
        return axis
    tile, length = _tile_and_length(axis)
    switches = [float((span.start + span.stop) // 2 // multiple * multiple) for span in axis]
    edges = [0.0, *switches, float(length)]
    starts = [_start((a + b) / 2, tile, length, multiple) for a, b in zip(edges, edges[1:])]
    return _spans(starts, tile, switches, axis[0].feather)


def across(axis: Axis, width: float, *, multiple: int = 1) -> Axis:
    """One span for each joint of `axis`: a full tile centred on it, whose window lives on `width` pixels around it.

    The window is one on the joint and zero from `width / 2` on at both sides; `width` is at most the tile less
    `multiple`, so that it is zero at the box's sides too.
    """
    tile, length = _tile_and_length(axis)
    spans: list[Span] = []
    for joint in joints(axis):
        start = _start(joint, tile, length, multiple)
        spans.append(Span(start, start + tile, joint - width / 4, joint + width / 4, width / 2))
    return tuple(spans)


def joints(axis: Axis) -> list[float]:
    """Where neighbouring spans hand over to each other, in pixels."""
    return [span.rise for span in axis if span.rise is not None]


def _tile_and_length(axis: Axis) -> tuple[int, int]:
    return axis[0].stop - axis[0].start, axis[-1].stop


def _spans(starts: list[int], tile: int, switches: list[float], feather: float) -> Axis:
    """Neighbours that share a switch; the feather is narrowed where a box would cut it off."""
    rises, falls = [None, *switches], [*switches, None]
    room = [switch - start for start, switch in zip(starts[1:], switches)]
    room += [start + tile - switch for start, switch in zip(starts, switches)]
    feather = min([feather, *(2 * value for value in room)])
    return tuple(Span(start, start + tile, rise, fall, feather) for start, rise, fall in zip(starts, rises, falls))


def _start(centre: float, tile: int, length: int, multiple: int) -> int:
    """Start of a box of `tile`, centred as well as the grid of `multiple` and the ends of the picture allow."""
    start = round((centre - tile / 2) / multiple) * multiple
    return min(max(start, 0), length - tile)
