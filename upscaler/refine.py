"""The second stage: tiles redrawn by a refiner, in batches, and blended into the canvas."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event as Flag
from typing import NamedTuple

import numpy as np

from .blend import Wave
from .errors import Cancelled, OutOfMemory
from .events import Notice
from .geometry import Box, Plan, Size, Tile
from .image import Image
from .models.base import OnStep, Refiner

Redraw = Callable[[list[Image], list[Box], OnStep], list[Image]]
"""A refiner with its sampling and seed filled in: (crops, boxes, on_step) -> tiles, already filtered."""


class Refining(NamedTuple):
    """Where a refinement stands: finished tiles, finished and all evaluations of the batch at work, and its boxes."""

    done: int
    step: int
    steps: int
    boxes: tuple[Box, ...]


def refine(canvas: Image, plans: Sequence[Plan], redraw: Redraw, *, batch: int) -> Iterator[Refining | Notice]:
    """Redraw the tiles of some plans, one plan after the other, in `canvas`, step by step.

    A batch that does not fit into memory is tried again in halves. A tile that comes out with NaN or infinity is left
    as it was, with a `Notice`. The refiner runs in a thread of its own, so that closing this generator stops it after
    the evaluation at work; the canvas then holds all finished tiles.

    Args:
        canvas: (H, W, 3), changed in place.
        batch: how many tiles at once, at most.

    Raises:
        OutOfMemory: one tile alone does not fit.
    """
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="refiner") as thread:
        for wave in (Wave(canvas, tiles) for plan in plans for tiles in plan.waves()):
            retry: deque[tuple[Tile, Image]] = deque()
            while wave or retry:
                taken = [retry.popleft() for _ in range(min(batch, len(retry)))] or wave.take(batch)
                boxes = [tile.box for tile, _ in taken]
                yield Refining(done, 0, 0, tuple(boxes))
                try:
                    redrawn = yield from _watch(thread, redraw, [crop for _, crop in taken], boxes, done)
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
                yield Refining(done, 0, 0, tuple(boxes))


def _watch(
    thread: ThreadPoolExecutor, redraw: Redraw, crops: list[Image], boxes: list[Box], done: int
) -> Generator[Refining, None, list[Image]]:
    """The result of `redraw`, which runs in `thread`, with an item for each of its steps."""
    steps: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    stopped = Flag()

    def on_step(step: int, of: int) -> None:
        if stopped.is_set():
            raise Cancelled("the run was stopped")
        steps.put((step, of))

    future = thread.submit(redraw, crops, boxes, on_step)
    future.add_done_callback(lambda _: steps.put(None))
    try:
        while (step := steps.get()) is not None:
            yield Refining(done, *step, tuple(boxes))
        return future.result()
    finally:
        stopped.set()
        wait([future])


def fitting_tile(refiner: Refiner, tile: Size) -> int:
    """The largest square tile side below `tile`, in steps of 64 px, that fits into the free memory; 64 at the least."""
    side = (min(tile) - 1) // 64 * 64
    while side > 64 and refiner.batch_size(Size(side, side)) < 1:
        side -= 64
    return max(side, 64)
