"""The first stage: a picture enlarged to an exact size, by a network where there is one, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..arrays.resample import resample, to_linear, to_srgb
from ..arrays.store import IN_MEMORY, Store
from ..arrays.strips import strips
from ..arrays.types import Image
from ..errors import OutOfMemory
from ..events import Notice
from ..geometry import NO_WRAP, Box, Size, Wrap
from ..models.base import OnStep, Upscaler
from ..tiling.canvas import cut, to_grid
from ..tiling.journal import Journal
from ..tiling.loop import Step, redraw
from ..tiling.passes import EnlargePass
from ..tiling.tiles import Tile
from ..tiling.worker import Hold

_SMALLEST = 32  # side in input pixels, beside the context, below which a piece is not halved any more


class Enlarging(NamedTuple):
    """Where an enlargement stands: the canvas so far, and the step of all its tiles."""

    canvas: Image
    step: Step


def enlarge(
    image: Image,
    target: Size,
    passes: Sequence[EnlargePass],
    *,
    upscaler: Upscaler | None,
    store: Store = IN_MEMORY,
    journal: Journal | None = None,
    wrap: Wrap = NO_WRAP,
    inline: bool = False,
    hold: Hold | None = None,
    linear: bool = True,
) -> Iterator[Enlarging | Notice]:
    """`image` enlarged to `target`, step by step; the canvas of the last item is the result, float32 in [0, 1].

    The canvas starts as a bicubic enlargement, which the network's tiles then replace. Where the network's scale is
    more than what is asked for, its tiles are reduced to the exact ratio by a Lanczos filter in linear light. A piece
    that does not fit into memory is drawn in two halves, with a `Notice`.

    Args:
        image: (H, W, 3).
        passes: of the upscaler, as they were planned; their tiles are run, the rest stays a bicubic enlargement.
        upscaler: `None` resamples only; so do no passes.
        store: where the canvas is made.
        journal: as in `redraw`.
        wrap: on which axes the picture goes around, as in the plan of the passes.
        inline: run the network in the calling thread.
        hold: as in `redraw`.
        linear: resample in linear light where there is no network.

    Raises:
        OutOfMemory: not even a small piece fits.
    """
    if upscaler is None or not passes:
        yield Enlarging(_resampled(image, target, store, wrap, linear=linear), Step(0, (Box(0, 0, *target),)))
        return
    done = 0
    for step in passes:
        x, y = step.ratio
        canvas = _resampled(image, step.size, store, wrap, ratio=(1 / x, 1 / y))
        yield Enlarging(canvas, Step(done, (Box(0, 0, *step.size),)))
        network = _Network(image, step, upscaler)
        parallel = getattr(upscaler, "parallel", 1)
        for item in redraw(
            canvas, [step.target], network.draw, batch=1, journal=journal, parallel=parallel, inline=inline, hold=hold
        ):
            yield from network.take_notices()
            yield item if isinstance(item, Notice) else Enlarging(canvas, item._replace(done=done + item.done))
        done += len(step.plan)
        image = canvas


def _resampled(
    image: Image,
    size: Size,
    store: Store,
    wrap: Wrap,
    *,
    ratio: tuple[float, float] | None = None,
    linear: bool = False,
) -> Image:
    """The image resampled to a canvas, strip by strip: beside the result there is nothing of its size in memory."""
    kernel = "lanczos" if size.width < image.shape[1] else "bicubic"
    source = _linear(image, store) if linear else image
    canvas = store.empty((size.height, size.width, 3))
    for rows in strips(size.height, size.width):
        part = resample(source, size, kernel=kernel, ratio=ratio, rows=rows, wrap=wrap)
        canvas[rows] = to_grid(np.clip(to_srgb(part) if linear else part, 0, 1))
    return canvas


def _linear(image: Image, store: Store) -> Image:
    result = store.empty(image.shape)
    for rows in strips(*image.shape[:2]):
        result[rows] = to_linear(image[rows])
    return result


class _Network:
    """An upscaler over the pieces of one pass that fit into memory."""

    def __init__(self, image: Image, step: EnlargePass, upscaler: Upscaler) -> None:
        self._image, self._step, self._upscaler = image, step, upscaler
        self._sources = {(tile.row, tile.column): tile.box for tile in step.plan}
        self._most: int | None = None  # pixels of a piece that did not fit
        self._notices: list[Notice] = []

    def take_notices(self) -> list[Notice]:
        """The notices since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def draw(self, tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        """The tiles, in pixels of the pass's result; the crops are only what lies there now."""
        return [self._draw(self._sources[tile.row, tile.column], tile.box, on_step) for tile in tiles]

    def _draw(self, source: Box, target: Box, on_step: OnStep) -> Image:
        """What the network makes of `source`, on the pixels of `target`."""
        x, y = self._step.ratio
        scale = self._upscaler.scale
        large = self._enlarged(source, on_step)
        # in pixels of `large`, which is `scale` times as fine as the source and begins where the source box does
        left, top = target.left / x - source.left, target.top / y - source.top
        if x == y == scale:
            column, row = round(left * scale), round(top * scale)
            return large[row : row + target.size.height, column : column + target.size.width]
        finer, offset = (scale / x, scale / y), (left * scale, top * scale)
        reduced = resample(to_linear(large), target.size, kernel="lanczos", ratio=finer, offset=offset)
        return np.clip(to_srgb(reduced), 0, 1)

    def _enlarged(self, box: Box, on_step: OnStep) -> Image:
        """What the network makes of a piece, in halves where it does not fit as a whole."""
        width, height = box.size
        if self._most is None or width * height < self._most:
            try:
                return self._upscaler(cut(self._image, box, self._step.plan.wrap), on_step=on_step)
            except OutOfMemory:
                if max(width, height) // 2 < _SMALLEST + self._upscaler.halo:
                    raise
                self._most = width * height
                told = f"a piece of {box.size} px did not fit into memory; continuing with smaller ones"
                self._notices.append(Notice(told))
        return self._halves(box, on_step)

    def _halves(self, box: Box, on_step: OnStep) -> Image:
        """The two halves of a piece, each drawn with its context from the other."""
        scale, halo = self._upscaler.scale, self._upscaler.halo
        steps = (partial(_half_step, on_step, half) for half in (0, 1))
        if box.size.width >= box.size.height:
            middle = box.size.width // 2
            left = self._enlarged(box._replace(right=box.left + middle + halo), next(steps))
            right = self._enlarged(box._replace(left=box.left + middle - halo), next(steps))
            return np.concatenate([left[:, : middle * scale], right[:, halo * scale :]], axis=1)
        middle = box.size.height // 2
        top = self._enlarged(box._replace(bottom=box.top + middle + halo), next(steps))
        bottom = self._enlarged(box._replace(top=box.top + middle - halo), next(steps))
        return np.concatenate([top[: middle * scale], bottom[halo * scale :]], axis=0)


def _half_step(on_step: OnStep, half: int, step: int, of: int) -> None:
    on_step(half * of + step, 2 * of)
