"""The second stage: tiles redrawn by a refiner, true to what they were cut from, in the canvas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays.types import Array, Image
from ..events import Notice
from ..geometry import NO_WRAP
from ..models.base import Begins, OnStep, Pending, Refiner, habits_of
from ..options.settings import Sampling, Wavelet
from ..tiling.canvas import cut
from ..tiling.journal import Journal
from ..tiling.loop import Step, redraw
from ..tiling.mask import Mask
from ..tiling.tiles import Plan, Tile
from ..tiling.worker import Hold
from .by_place import Places, draw_each
from .detail import filter_detail, has_nothing_to_refine, room_of


def refine(
    canvas: Image,
    plans: Sequence[Plan],
    refiner: Refiner,
    *,
    sampling: Sampling,
    seed: int,
    wavelet: Wavelet,
    scale: float,
    batch: int,
    mask: Mask | None = None,
    alpha: NDArray[np.float32] | None = None,
    places: Places | None = None,
    journal: Journal | None = None,
    start: tuple[int, int] = (0, 0),
    inline: bool = False,
    hold: Hold | None = None,
) -> Iterator[Step | Notice]:
    """Let `refiner` redraw the tiles of some plans in `canvas`, each filtered against what it was cut from.

    Tiles in which nothing would be left of what it draws are skipped: flat ones, and those that nobody sees.

    Args:
        canvas: (H, W, 3) on the grid of exact sums, changed in place.
        seed: of the pass.
        scale: how many times larger the canvas is than the picture that came in.
        batch: tiles at once, at most.
        mask: where the canvas may change.
        alpha: opacity of the canvas, (H, W); `None` is opaque.
        places: what of the sampling depends on where a tile lies.
        journal: as in `redraw`.
        start: column and row from which the refiner counts where tiles lie.
        inline: run the refiner in the calling thread.
        hold: as in `redraw`.

    Raises:
        OutOfMemory: one tile alone does not fit.
    """

    wrap, least = plans[0].wrap if plans else NO_WRAP, habits_of(refiner).least
    drawn = refiner.begin if isinstance(refiner, Begins) else refiner
    mixes = getattr(refiner, "mixes_prompts", False)
    rooms: dict[int, Array] = {}  # of the crops that were asked about, until they are filtered

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> Sequence[Image | Pending]:
        boxes = [tile.box.move(-start[0], -start[1]) for tile in tiles]
        if places is None:
            return drawn(crops, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)
        samplings = [places.sampling(sampling, tile.box, crop, least=least) for tile, crop in zip(tiles, crops)]
        return draw_each(drawn, crops, boxes, samplings, mixes=mixes, seed=seed, on_step=on_step)

    def skip(tile: Tile, crop: Image) -> bool:
        if places is not None and places.share(tile.box) == 0:
            return True
        if alpha is not None and not cut(alpha[..., None], tile.box, wrap).any():
            return True
        room = room_of(crop)
        if has_nothing_to_refine(room, color=wavelet.color, denoise=wavelet.denoise):
            return True
        rooms[id(crop)] = room
        return False

    def finish(crop: Image, drawn: Image) -> Image:
        room = rooms.pop(id(crop))
        return filter_detail(drawn, crop, scale=scale, color=wavelet.color, denoise=wavelet.denoise, room=room)

    if places is not None and (told := places.tell(plans)):
        yield Notice(told)
    yield from redraw(
        canvas,
        plans,
        draw,
        batch=batch,
        finish=finish,
        skip=skip,
        mask=mask,
        journal=journal,
        parallel=getattr(refiner, "parallel", 1),
        inline=inline,
        hold=hold,
    )
