"""Tiles and plans: the spans of two axes, combined by outer product and grouped into waves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..geometry import NO_WRAP, Box, Order, Size, Wrap
from .spans import Axis, Span


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
        wrap: which axes are circles.
    """

    rows: Axis
    columns: Axis
    order: Order = "independent"
    where: frozenset[tuple[int, int]] | None = None
    wrap: Wrap = NO_WRAP

    @property
    def tile(self) -> Size:
        """Width and height of every tile."""
        row, column = self.rows[0], self.columns[0]
        return Size(column.stop - column.start, row.stop - row.start)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns) if self.where is None else len(self.where)

    def __iter__(self) -> Iterator[Tile]:
        for row, y in enumerate(self.rows):
            for column, x in enumerate(self.columns):
                if self.where is None or (row, column) in self.where:
                    yield Tile(row, column, y, x)

    @property
    def whole(self) -> Plan:
        """All that these tiles cover as one tile."""
        return Plan((Span(0, self.rows[-1].stop),), (Span(0, self.columns[-1].stop),))

    def only(self, keep: Callable[[Tile], bool]) -> Plan:
        """The same plan with the tiles for which `keep` is true; all else stays where it is."""
        return replace(self, where=frozenset((tile.row, tile.column) for tile in self if keep(tile)))

    def move(self, x: int, y: int) -> Plan:
        """The same plan `x` further to the right and `y` further down, on axes that are circles."""
        return replace(
            self,
            columns=tuple(span.move(x) for span in self.columns),
            rows=tuple(span.move(y) for span in self.rows),
        )

    def narrow(self, box: Box | None) -> tuple[Plan, Box | None]:
        """The tiles that `box` of the result depends on, and what of the canvas must be right before they are drawn.

        A wave is cut from what the waves before it have drawn, so every wave reaches further. `None` is all; so is any
        part of a picture that goes around.
        """
        if box is None or any(self.wrap):
            return self, None
        chosen: set[tuple[int, int]] = set()
        for wave in reversed(self.waves()):
            reached = [tile for tile in wave if tile.box.intersects(box)]
            chosen.update((tile.row, tile.column) for tile in reached)
            box = Box.around([box, *(tile.box for tile in reached)])
        return replace(self, where=frozenset(chosen)), box

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
