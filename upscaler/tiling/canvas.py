"""The one line that every pass is made of: a tile is a weighted correction of the picture it was cut from.

    out = base + sum_i  window_i * (refined_i - base[box_i])

Two number grids make this exact in float32. Windows are multiples of 2^-12, so the product of two is a multiple of
2^-24 and windows that telescope sum to one without any rounding. The picture and its corrections are multiples of
2^-22, so that sums below four are exact and do not depend on the order of the tiles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..arrays.store import trim
from ..arrays.types import Image
from ..geometry import NO_WRAP, Box, Part, Size, Wrap
from .mask import Mask
from .tiles import Tile
from .window import window

_VALUE_GRID = np.float32(2**22)
_BAND = 64 << 20  # bytes of whole rows of the canvas


def to_grid(values: Image) -> Image:
    """`values` rounded in place to multiples of 2^-22, on which sums of corrections are exact; the same array."""
    np.multiply(values, _VALUE_GRID, out=values)
    np.rint(values, out=values)
    return np.multiply(values, 1 / _VALUE_GRID, out=values)


def cut(canvas: Image, box: Box, wrap: Wrap = NO_WRAP, before: Sequence[tuple[Part, Image]] = ()) -> Image:
    """A copy of `canvas` inside `box`, (box height, box width, C).

    Beyond the picture it is continued by reflection, or at its other side where the picture goes around. `before` is what
    parts of the box held before they were changed, in the order of the changes.
    """
    parts = box.parts(Size(canvas.shape[1], canvas.shape[0]), wrap)
    height = max(part.y + part.inside.size.height for part in parts)
    width = max(part.x + part.inside.size.width for part in parts)
    inside = np.empty((height, width, canvas.shape[2]), canvas.dtype)
    for band in (band for part in parts for band in _bands(part, canvas)):
        inside[band.slices] = canvas[band.inside.slices]
    for part, pixels in reversed(before):
        inside[part.slices] = pixels
    beyond = (0, box.size.height - height), (0, box.size.width - width)
    if beyond == ((0, 0), (0, 0)):
        return inside
    return np.pad(inside, (*beyond, (0, 0)), mode="symmetric")


def _bands(part: Part, canvas: Image) -> Iterator[Part]:
    """A part in bands of rows, one after the other.

    Of a canvas on disk the system may map whole rows where a part of them is touched: between two bands it is let go.
    """
    left, top, right, bottom = part.inside
    step = max(_BAND // canvas[0].nbytes, 1)
    for start in range(top, bottom, step):
        yield Part(Box(left, start, right, min(start + step, bottom)), part.x, part.y + start - top)
        trim()


def weigh(tile: Tile, crop: Image, drawn: Image, canvas: Size, mask: Mask | None = None, wrap: Wrap = NO_WRAP) -> Image:
    """`window * mask * (drawn - crop)` on the grid of exact sums, for the part of the tile that lies in the canvas."""
    rows = slice(None if wrap.y else canvas.height - tile.y.start)
    columns = slice(None if wrap.x else canvas.width - tile.x.start)
    correction = np.subtract(drawn[rows, columns], crop[rows, columns])
    height, width, channels = correction.shape
    flat = correction.reshape(height, width * channels)  # numpy is slow where it goes around for each three values
    flat *= window(tile.y)[rows, None] * np.repeat(window(tile.x)[columns], channels)
    if mask is not None:
        flat *= np.repeat(mask.under(tile.box, wrap)[..., 0], channels, axis=1)
    return to_grid(correction)


class Wave:
    """The tiles of one wave: all are cut from the canvas as it stood before the wave, though the canvas changes meanwhile.

    Where a correction changes what lies under tiles that are not cut yet, what was there before is kept for them: at most
    what the tiles of a row share with the next one.
    """

    def __init__(self, canvas: Image, tiles: Iterable[Tile], wrap: Wrap = NO_WRAP) -> None:
        """`tiles` row by row; `wrap` says which axes of the canvas are circles."""
        self._canvas = canvas
        self._size = Size(canvas.shape[1], canvas.shape[0])
        self._wrap = wrap
        self._pending = deque(tiles)
        self._before: dict[Tile, list[tuple[Part, Image]]] = {}

    def __len__(self) -> int:
        """Number of tiles not taken yet."""
        return len(self._pending)

    def take(self, count: int) -> list[tuple[Tile, Image]]:
        """The next tiles, at most `count`, each with its crop."""
        tiles = [self._pending.popleft() for _ in range(min(count, len(self._pending)))]
        return [(tile, cut(self._canvas, tile.box, self._wrap, self._before.pop(tile, ()))) for tile in tiles]

    def correct(self, tile: Tile, correction: Image) -> None:
        """Add what `weigh` gave to the canvas under a tile that was taken; the cost is that of the box, whatever the canvas."""
        parts = tile.box.parts(self._size, self._wrap)
        for other in self._pending:
            if not self._wrap.y and other.y.start >= tile.y.stop:
                break
            for theirs in other.box.parts(self._size, self._wrap):
                for ours in parts:
                    if (shared := theirs.inside.meet(ours.inside)) is not None:
                        x, y = shared.left - theirs.inside.left, shared.top - theirs.inside.top
                        part = Part(shared, theirs.x + x, theirs.y + y)
                        self._before.setdefault(other, []).append((part, self._canvas[shared.slices].copy()))
        for band in (band for part in parts for band in _bands(part, self._canvas)):
            self._canvas[band.inside.slices] += correction[band.slices]
