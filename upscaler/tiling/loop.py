"""The second stage: tiles redrawn by a refiner, in batches, and blended into the canvas."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..arrays.types import Image
from ..errors import OutOfMemory
from ..events import Notice
from ..geometry import Box, Size
from ..models.base import Refiner
from ..stages.refine import Redraw
from .canvas import Wave
from .tiles import Plan, Tile
from .worker import watch, worker


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
