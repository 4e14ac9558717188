"""One run, from picture to picture: a generator of events over models that are known only by their protocols.

    enlarge -> consistency -> refine tiles and blend -> seam fix -> consistency

Wavelet filtering belongs to the tile: what a refiner made of it is filtered against what it was given, before it is
blended. So neighbours already agree in tone where they meet, a joint is judged as it will stay, and the picture is
right at every moment, also when the run is stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .arrays.strips import strips
from .arrays.types import Image
from .errors import OutOfMemory
from .events import Event, Finished, Notice, Progress, Stage
from .geometry import Box
from .models.base import Refiner, Upscaler
from .options.settings import Sampling, Settings
from .pictures.picture import Picture
from .plan import plan_tiles
from .stages.consistency import PLAIN_RADIUS, RADIUS, enforce_consistency
from .stages.enlarge import enlarge
from .stages.refine import redrawing
from .stages.seam_score import SeamReport, seam_score, where_visible
from .tiling.canvas import to_grid
from .tiling.loop import fitting_tile, refine
from .tiling.seams import seam_plans
from .tiling.tiles import Plan

_SEAM_SEED = 1 << 64  # seam passes see other noise than the pass whose joints they mend
_SMALLEST_GAN_TILE = 32


def run(
    picture: Picture,
    settings: Settings,
    *,
    upscaler: Upscaler | None,
    refiner: Refiner | None,
    region: Box | None = None,
    inline: bool = False,
) -> Iterator[Event]:
    """The events of enlarging `picture`; the last one is `Finished`.

    Close the generator to stop the run: the network stops after the evaluation at work, and `Progress.picture` of any
    earlier event holds all that was finished. The same settings and models give the same picture, whatever the batch
    size, the order of independent tiles or the region.

    Args:
        picture: not modified.
        upscaler: `None` enlarges by resampling.
        refiner: `None` leaves out the diffusion pass; so does a strength of 0.
        region: run only the tiles that this part of the result depends on, in pixels of the result; `Finished` then
            holds this part alone.
        inline: run the models in the thread that iterates, for a host that allows them no other. The steps of a batch
            are then told when it is done, and a model that should stop within one raises `Cancelled` itself.

    Raises:
        Cancelled: an inline model was stopped; `Progress.picture` of the last event holds what was finished.
        SettingsError: the target size is out of range for this picture.
        OutOfMemory: one tile alone does not fit; says which tile would.
    """
    job = _Run(picture, settings, inline=inline)
    report = None
    if refiner is None or settings.diffusion.strength == 0:
        yield from job.enlarge(upscaler, region)
    else:
        plan = plan_tiles(job.target, settings.tiles, multiple=refiner.multiple)
        needs = _Needs.of(job.around(region, PLAIN_RADIUS), plan, settings, multiple=refiner.multiple)
        yield from job.enlarge(upscaler, needs.base)
        base = job.canvas.copy()
        yield from job.refine(Stage.REFINE, [plan.touching(needs.tiles)], settings.diffusion.sampling, refiner)
        report = yield from job.mend_seams(plan, needs.seams, base, refiner)
        yield from job.finish(base)
        del base  # not in memory any more while the result is looked at and written
    yield Finished(picture=job.part(region), settings=settings, seconds=job.seconds, seams=report)


class _Needs(NamedTuple):
    """What part of the picture must be right before each stage, for a region of the result to be; `None` is all."""

    seams: Box | None = None
    tiles: Box | None = None
    base: Box | None = None

    @classmethod
    def of(cls, region: Box | None, plan: Plan, settings: Settings, *, multiple: int) -> _Needs:
        if region is None:
            return cls()
        tiles = region
        for part in reversed(seam_plans(plan, settings.seams.mode, width=settings.seams.width, multiple=multiple)):
            tiles = part.reach(tiles)
        return cls(region, tiles, plan.reach(tiles))


class _Run:
    """The state of one run: the result so far and the clock."""

    def __init__(self, picture: Picture, settings: Settings, *, inline: bool) -> None:
        self.picture = self.result = picture
        self.settings = settings
        self.inline = inline
        self.target = settings.target.of(picture.size)
        self.seconds: dict[Stage, float] = {}

    @property
    def canvas(self) -> Image:
        return self.result.pixels

    @property
    def factor(self) -> float:
        """How many times larger the result is, on the axis where that is more."""
        return max(new / old for new, old in zip(self.target, self.picture.size))

    def around(self, region: Box | None, radius: int) -> Box | None:
        """The region with a margin of `radius` pixels of the input."""
        return region and region.grow(math.ceil(radius * self.factor), self.target)

    def part(self, region: Box | None) -> Picture:
        """The result, or what lies in the region."""
        if region is None:
            return self.result
        rows, columns = region.slices
        alpha = None if self.result.alpha is None else self.result.alpha[rows, columns].copy()
        return replace(self.result, pixels=self.canvas[rows, columns].copy(), alpha=alpha)

    def enlarge(self, upscaler: Upscaler | None, needed: Box | None) -> Iterator[Event]:
        """Let the canvas be the enlarged picture, true to the input, and alpha be alpha enlarged the same way."""
        needed = self.around(needed, RADIUS)
        tile = self.settings.gan.tile
        with self._clock(Stage.ENLARGE):
            while True:
                try:
                    yield from self._enlarge(upscaler, needed, tile)
                    break
                except OutOfMemory:
                    if tile // 2 < _SMALLEST_GAN_TILE:
                        raise
                    tile //= 2
                    yield Notice(f"a network tile did not fit into memory; starting again with {tile} px")
            enforce_consistency(
                self.canvas,
                self.picture.pixels,
                strength=self.settings.wavelet.consistency,
                quantisation=self.picture.jpeg_quantisation,
            )
            _finish_pixels(self.canvas)

    def _enlarge(self, upscaler: Upscaler | None, needed: Box | None, tile: int) -> Iterator[Event]:
        layers = [self.picture.pixels]
        if self.picture.alpha is not None:
            layers.append(np.repeat(self.picture.alpha[..., None], 3, axis=2))
        for index, layer in enumerate(layers):
            for step in enlarge(layer, self.target, upscaler=upscaler, tile=tile, region=needed, inline=self.inline):
                if index == 0:
                    self.result = replace(self.picture, pixels=step.canvas, alpha=None)
                elif step.step == 0:  # alpha changes with a finished tile, not with each layer of the network
                    self.result = replace(self.result, alpha=np.ascontiguousarray(step.canvas.mean(axis=2)))
                done, total = step.done + index * step.total, step.total * len(layers)
                yield self._progress(Stage.ENLARGE, done, total, boxes=(step.box,), step=step.step, steps=step.steps)

    def refine(
        self, stage: Stage, plans: Sequence[Plan], sampling: Sampling, refiner: Refiner, *, seed: int = 0
    ) -> Iterator[Event]:
        """Redraw the tiles of some plans in the canvas."""
        seed += self.settings.diffusion.seed
        redraw = redrawing(refiner, sampling, seed=seed, wavelet=self.settings.wavelet, scale=self.factor)
        total = sum(map(len, plans))
        tiles = [tile.box.size for plan in plans for tile in plan]
        if not tiles:
            return
        batch = self.settings.tiles.batch or max(refiner.batch_size(tiles[0]), 1)
        with self._clock(stage):
            try:
                for item in refine(self.canvas, plans, redraw, batch=batch, inline=self.inline):
                    if isinstance(item, Notice):
                        yield item
                    else:
                        yield self._progress(
                            stage, item.done, total, step=item.step, steps=item.steps, boxes=item.boxes
                        )
            except OutOfMemory as error:
                side = fitting_tile(refiner, tiles[0])
                raise OutOfMemory(f"{error}; set tiles.tile to {side}, which should fit") from None

    def mend_seams(
        self, plan: Plan, needed: Box | None, base: Image, refiner: Refiner
    ) -> Generator[Event, None, SeamReport]:
        """Redraw the joints of the plan as the settings say."""
        seams = self.settings.seams
        before = seam_score(self.canvas, base, plan)
        plans: list[Plan] = []
        if seams.strength > 0:
            plans = seam_plans(plan, seams.mode, width=seams.width, multiple=refiner.multiple)
            plans = where_visible(plans, before) if seams.mode == "auto" else plans
            plans = [part.touching(needed) for part in plans]
        redrawn = sum(map(len, plans))
        if not redrawn:
            return SeamReport(before, before, 0)
        sampling = replace(self.settings.diffusion.sampling, strength=seams.strength, steps=seams.steps)
        yield from self.refine(Stage.SEAMS, plans, sampling, refiner, seed=_SEAM_SEED)
        return SeamReport(before, seam_score(self.canvas, base, plan), redrawn)

    def finish(self, base: Image) -> Iterator[Event]:
        """Bring the low resolution content of the redrawn picture back to that of the base, which is the input's."""
        with self._clock(Stage.FINISH):
            yield self._progress(Stage.FINISH, 0, 1)
            size, strength = self.picture.size, self.settings.wavelet.consistency
            enforce_consistency(self.canvas, base, size=size, strength=strength)
            _finish_pixels(self.canvas)
            yield self._progress(Stage.FINISH, 1, 1)

    def _progress(
        self, stage: Stage, done: int, total: int, *, step: int = 0, steps: int = 0, boxes: tuple[Box, ...] = ()
    ) -> Progress:
        return Progress(stage=stage, done=done, total=total, step=step, steps=steps, boxes=boxes, picture=self.result)

    @contextmanager
    def _clock(self, stage: Stage) -> Generator[None, None, None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _finish_pixels(canvas: Image) -> None:
    """Bring a canvas back to what every stage expects: [0, 1], on the grid of exact sums; in place, strip by strip."""
    for rows in strips(*canvas.shape[:2]):
        to_grid(np.clip(canvas[rows], 0, 1, out=canvas[rows]))
