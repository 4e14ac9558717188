"""The last stage: faces drawn anew by a network that knows nothing else, as weighted corrections of the canvas.

A face is turned and scaled to the place where its network expects it. What the network changes there is weighed by a
window, turned back and added to the canvas: so where it changes nothing, nothing is changed, bit for bit, and detail of
the canvas that is finer than the network draws stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..arrays.affine import Affine, warp
from ..arrays.types import Array, Image
from ..events import Notice
from ..geometry import Box, Size
from ..models.base import Face, FaceRestorer, OnStep
from ..tiling.canvas import cut
from ..tiling.journal import Journal
from ..tiling.loop import Step, redraw
from ..tiling.mask import Mask
from ..tiling.spans import Span
from ..tiling.tiles import Plan, Tile
from ..tiling.window import window
from ..tiling.worker import Hold
from .detail import filter_detail

SIDE = 512
"""Side of the picture of a face that networks are given, in pixels."""

POINTS = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
"""Where the points of a face lie in it: their mean places in the FFHQ data set, which face networks are trained on."""

_SQUARE = Size(SIDE, SIDE)
_WINDOW = Span(0, SIDE, rise=64, fall=SIDE - 64, feather=96)
_TONE = 8.0  # the scale of a picture whose tone is locked from 64 pixels on: an eighth of the square


def place(face: Face, source: Size, target: Size) -> Affine:
    """The map from the square of a face to the canvas, for a face that was found in the source."""
    x, y = target.width / source.width, target.height / source.height
    return Affine.between([complex(*point) for point in POINTS], [complex(a * x, b * y) for a, b in face.points])


def plan_faces(places: Sequence[Affine], target: Size) -> Plan:
    """A tile for each face, in its own row and column, drawn one after the other since they may overlap."""
    boxes = [_box(square, target) for square in places]
    return Plan(
        rows=tuple(Span(box.top, box.bottom) for box in boxes),
        columns=tuple(Span(box.left, box.right) for box in boxes),
        order="linear",
        where=frozenset((index, index) for index in range(len(boxes))),
    )


def restore_faces(
    canvas: Image,
    plan: Plan,
    places: Sequence[Affine],
    restorer: FaceRestorer,
    *,
    strength: float,
    color: float,
    mask: Mask | None = None,
    alpha: Array | None = None,
    journal: Journal | None = None,
    inline: bool = False,
    hold: Hold | None = None,
) -> Iterator[Step | Notice]:
    """Let `restorer` draw the faces of a plan anew in `canvas`, one after the other.

    Args:
        canvas: (H, W, 3) on the grid of exact sums, changed in place.
        places: from the square of each face to the canvas; that of a tile is found by its row.
        strength: how much of the change is taken, 0 to 1.
        color: how much of a face's tone and colour stays, 0 to 1.
        mask, alpha, journal, inline, hold: as in `refine`.

    Raises:
        OutOfMemory: a face does not fit.
    """

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> Sequence[Image]:
        (tile,), (crop,) = tiles, crops
        square = places[tile.row].moved(-complex(tile.x.start, tile.y.start))
        face = np.clip(warp(crop, _SQUARE, square, edge=True), 0, 1)
        change = filter_detail(restorer(face, on_step=on_step), face, scale=_TONE, color=color, denoise=0) - face
        change *= np.float32(strength) * window(_WINDOW)[:, None, None] * window(_WINDOW)[None, :, None]
        return [crop + warp(change, tile.box.size, square.inverse, edge=False)]

    def skip(tile: Tile, crop: Image) -> bool:
        return alpha is not None and not cut(alpha[..., None], tile.box).any()

    yield from redraw(canvas, [plan], draw, batch=1, skip=skip, mask=mask, journal=journal, inline=inline, hold=hold)


def _box(square: Affine, canvas: Size) -> Box:
    """What of the canvas the square of a face covers."""
    corners = [square(complex(x, y)) for x in (0, SIDE) for y in (0, SIDE)]
    xs, ys = [z.real for z in corners], [z.imag for z in corners]
    return Box.enclosing(max(min(xs), 0), max(min(ys), 0), max(xs), max(ys), within=canvas)


def advice(faces: Sequence[Face], source: Size, target: Size) -> str:
    """What there is to say of the faces of a picture that is to be enlarged; empty where there is nothing.

    A face is worth restoring where the picture has fewer pixels of it than the result will show.
    """
    sides = [face.box.size.width for face in faces]
    small = [side for side in sides if side < _ENOUGH]
    if not small or target.width <= source.width:
        return ""
    smallest = f"{min(small)} px wide" if len(small) == 1 else f"the smallest {min(small)} px wide"
    return f"{len(small)} small face{'s' if len(small) > 1 else ''}, {smallest}: a face model may help"


_ENOUGH = 160  # pixels of a face's width that a network's square shows anyway, about
