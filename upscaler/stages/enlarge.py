"""The first stage: a picture enlarged to an exact size, by a network where there is one, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..arrays.resample import resample, to_linear, to_srgb
from ..arrays.strips import strips
from ..arrays.types import Image
from ..geometry import Box, Size
from ..models.base import OnStep, Upscaler
from ..tiling.canvas import Wave, to_grid
from ..tiling.passes import EnlargePass, enlarge_passes, scale_span
from ..tiling.tiles import Tile
from ..tiling.worker import watch, worker


class Enlarging(NamedTuple):
    """Where an enlargement stands: the canvas so far, finished and all tiles, the box at work or just drawn, and steps."""

    canvas: Image
    done: int
    total: int
    box: Box
    step: int = 0
    steps: int = 0


def enlarge(
    image: Image,
    target: Size,
    *,
    upscaler: Upscaler | None,
    tile: int,
    region: Box | None = None,
    inline: bool = False,
) -> Iterator[Enlarging]:
    """`image` enlarged to `target`, step by step; the canvas of the last item is the result, float32 in [0, 1].

    The canvas starts as a bicubic enlargement, which the network's tiles then replace. Where the network's scale is
    more than what is asked for, its tiles are reduced to the exact ratio by a Lanczos filter in linear light.

    Args:
        image: (H, W, 3).
        upscaler: `None` resamples only; so does a target no larger than the picture.
        tile: side of a network tile in input pixels, beside its halo.
        region: only the tiles that this part of the result depends on are run; the rest stays a bicubic enlargement.
        inline: run the network in the calling thread.
    """
    source = Size(image.shape[1], image.shape[0])
    passes: Sequence[EnlargePass] = []
    if upscaler is not None:
        passes = enlarge_passes(source, target, scale=upscaler.scale, halo=upscaler.halo, tile=tile)
    if upscaler is None or not passes:
        yield Enlarging(_resampled(image, target, linear=True), 0, 0, Box(0, 0, *target))
        return
    plans = [step.plan.touching(box) for step, box in zip(passes, _needed(passes, region))]
    done, total = 0, sum(map(len, plans))
    with worker("upscaler", inline=inline) as thread:
        for step, plan in zip(passes, plans):
            x, y = step.ratio
            canvas = _resampled(image, step.size, ratio=(1 / x, 1 / y))
            yield Enlarging(canvas, done, total, Box(0, 0, *step.size))
            wave = Wave(canvas, (_larger(tile, step) for tile in plan))
            for part in plan:
                ((piece, crop),) = wave.take(1)
                call = partial(_redraw, image, part.box, piece.box, step, upscaler)
                redrawn = yield from watch(thread, call, partial(Enlarging, canvas, done, total, piece.box))
                wave.correct(piece, crop, redrawn)
                done += 1
                yield Enlarging(canvas, done, total, piece.box)
            image = canvas


def _resampled(image: Image, size: Size, *, ratio: tuple[float, float] | None = None, linear: bool = False) -> Image:
    """The image resampled to a canvas, strip by strip: beside the result there is nothing of its size in memory."""
    kernel = "lanczos" if size.width < image.shape[1] else "bicubic"
    source = to_linear(image) if linear else image
    canvas = np.empty((size.height, size.width, 3), np.float32)
    for rows in strips(size.height, size.width):
        part = resample(source, size, kernel=kernel, ratio=ratio, rows=rows)
        canvas[rows] = to_grid(np.clip(to_srgb(part) if linear else part, 0, 1))
    return canvas


def _larger(tile: Tile, step: EnlargePass) -> Tile:
    """The tile in the pixels of the pass's result."""
    x, y = step.ratio
    return Tile(tile.row, tile.column, scale_span(tile.y, y, step.size.height), scale_span(tile.x, x, step.size.width))


def _redraw(image: Image, source: Box, target: Box, step: EnlargePass, upscaler: Upscaler, on_step: OnStep) -> Image:
    """What the network makes of `source`, on the pixels of `target`."""
    x, y = step.ratio
    large = upscaler(np.ascontiguousarray(image[source.slices]), on_step=on_step)
    # in pixels of `large`, which is `scale` times as fine as the source and begins where the source box does
    left, top = target.left / x - source.left, target.top / y - source.top
    if x == y == upscaler.scale:
        column, row = round(left * upscaler.scale), round(top * upscaler.scale)
        return large[row : row + target.size.height, column : column + target.size.width]
    finer = upscaler.scale / x, upscaler.scale / y
    offset = left * upscaler.scale, top * upscaler.scale
    reduced = resample(to_linear(large), target.size, kernel="lanczos", ratio=finer, offset=offset)
    return np.clip(to_srgb(reduced), 0, 1)


def _needed(passes: Sequence[EnlargePass], region: Box | None) -> list[Box | None]:
    """For each pass, the part of its input that `region` of the last pass's result depends on."""
    boxes: list[Box | None] = []
    for step in reversed(passes):
        if region is not None:
            x, y = step.ratio
            left, top = math.floor(region.left / x), math.floor(region.top / y)
            region = Box(left, top, math.ceil(region.right / x), math.ceil(region.bottom / y))
        boxes.insert(0, region)
        if region is not None:  # every tile that reaches into it is run, and sees this much of what is before it
            span = step.plan.rows[0], step.plan.columns[0]
            margin = max(side.stop - side.start for side in span)
            region = Box(region.left - margin, region.top - margin, region.right + margin, region.bottom + margin)
    return boxes
