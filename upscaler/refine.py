"""The second stage: tiles redrawn by a refiner, in batches, and blended into the canvas."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from .blend import Wave
from .errors import OutOfMemory
from .events import Notice
from .geometry import Box, Plan, Size, Tile
from .image import Image
from .models.base import OnStep, Refiner
from .settings import Sampling, Wavelet
from .watch import watch, worker
from .wavelet import filter_detail

Redraw = Callable[[list[Image], list[Box], OnStep], list[Image]]
"""A refiner with its sampling and seed filled in: (crops, boxes, on_step) -> tiles, already filtered."""


def redrawing(refiner: Refiner, sampling: Sampling, *, seed: int, wavelet: Wavelet, scale: float) -> Redraw:
    """What a refiner makes of crops, each filtered against what it was given; one with NaN or infinity as it came.

    Args:
        scale: how many times larger the canvas is than the picture that came in.
    """

    def redraw(crops: list[Image], boxes: list[Box], on_step: OnStep) -> list[Image]:
        tiles = refiner(crops, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)
        return [
            filter_detail(tile, crop, scale=scale, color=wavelet.color, denoise=wavelet.denoise)
            if np.isfinite(tile).all()
            else tile
            for tile, crop in zip(tiles, crops)
        ]

    return redraw


class Refining(NamedTuple):
    """Where a refinement stands: finished tiles, boxes of the batch at work, its finished and all its evaluations."""

    done: int
    boxes: tuple[Box, ...]
    step: int = 0
    steps: int = 0


def refine(
    canvas: Image, plans: Sequence[Plan], redraw: Redraw, *, batch: int, inline: bool = False
) -> Iterator[Refining | Notice]:
    """Redraw the tiles of some plans, one plan after the other, in `canvas`, step by step.

    A batch that does not fit into memory is tried again in halves. A tile that comes out with NaN or infinity is left
    as it was, with a `Notice`. The refiner runs in a thread of its own, so that closing this generator stops it after
    the evaluation at work; the canvas then holds all finished tiles.

    Args:
        canvas: (H, W, 3), changed in place.
        batch: how many tiles at once, at most.
        inline: run the refiner in the calling thread; closing the generator then finds no evaluation at work.

    Raises:
        OutOfMemory: one tile alone does not fit.
    """
    done = 0
    with worker("refiner", inline=inline) as thread:
        for wave in (Wave(canvas, tiles) for plan in plans for tiles in plan.waves()):
            retry: deque[tuple[Tile, Image]] = deque()
            while wave or retry:
                taken = [retry.popleft() for _ in range(min(batch, len(retry)))] or wave.take(batch)
                boxes = [tile.box for tile, _ in taken]
                yield Refining(done, tuple(boxes))
                call = partial(redraw, [crop for _, crop in taken], boxes)
                try:
                    redrawn = yield from watch(thread, call, partial(Refining, done, tuple(boxes)))
                except OutOfMemory:
                    if len(taken) == 1:
                        raise
                    batch = len(taken) // 2
                    yield Notice(f"a batch of {len(taken)} tiles did not fit into memory; going on with {batch}")
                    retry.extendleft(reversed(taken))
                    continue
                for (tile, crop), image in zip(taken, redrawn):
                    if np.isfinite(image).all():
                        wave.correct(tile, crop, image)
                    else:
                        at = f"{tile.box.left},{tile.box.top}"
                        yield Notice(
                            f"the tile at {at} came out with NaN or infinity; the enlarged picture is kept there"
                        )
                done += len(taken)
                yield Refining(done, tuple(boxes))


def fitting_tile(refiner: Refiner, tile: Size) -> int:
    """The largest square tile side below `tile`, in steps of 64 px, that fits into the free memory; 64 at the least."""
    side = (min(tile) - 1) // 64 * 64
    while side > 64 and refiner.batch_size(Size(side, side)) < 1:
        side -= 64
    return max(side, 64)
