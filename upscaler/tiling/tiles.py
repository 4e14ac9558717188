"""Tiles and plans: the spans of two axes, combined by outer product and grouped into waves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..geometry import Box, Order
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
