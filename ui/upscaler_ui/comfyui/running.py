"""Runs of the engine inside a node: the host's progress, previews and interruption."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import comfy.utils
import numpy as np
import PIL.Image
from comfy import model_management

from ....upscaler import pipeline
from ....upscaler.arrays.types import Image
from ....upscaler.events import Event, Finished, Notice, Progress, Stage
from ....upscaler.geometry import Box, Size
from ....upscaler.models.base import Refiner
from ....upscaler.options.settings import Settings
from ....upscaler.pictures.picture import Picture
from ....upscaler.plan import RunPlan, plan_tiles
from ....upscaler.stages.refine import redrawing
from ....upscaler.stages.seam_score import seam_score, where_visible
from ....upscaler.tiling.canvas import to_grid
from ....upscaler.tiling.loop import refine
from ....upscaler.tiling.seams import seam_plans
from .gan import HostUpscaler
from .pictures import Array, mask_under, preview

log = logging.getLogger("upscaler")

_SCALE = 1000  # parts of the bar
_GAN_UNIT = 512
_PREVIEW_SIDE, _PREVIEW_SECONDS = 1024, 0.5


def units_of(plan: RunPlan, settings: Settings) -> dict[Stage, float]:
    """The work of each stage. A unit is one run of a network over a tile, or for the GAN over as much of the result."""
    tiles = 0 if plan.tiles is None else len(plan.tiles)
    tile = plan.tile or Size(_GAN_UNIT, _GAN_UNIT)
    enlarged = plan.target.width * plan.target.height / (tile.width * tile.height)
    return {
        Stage.ENLARGE: enlarged if plan.gan_tiles else 0.0,
        Stage.REFINE: tiles * settings.diffusion.steps,
        Stage.SEAMS: plan.seam_tiles * settings.seams.steps,
    }


class Bar:
    """The node's progress bar over all pictures and stages, with the growing canvas as its preview."""

    def __init__(self, units: Mapping[Stage, float], pictures: int) -> None:
        """
        Args:
            units: of each stage, for one picture.
        """
        self._units = units
        self._pictures = pictures
        self._picture = 0
        self._event: Progress | None = None
        self._told = self._looked = 0.0
        self._bar = comfy.utils.ProgressBar(_SCALE)

    def start(self, picture: int) -> None:
        """The next events are of this picture of the batch."""
        self._picture = picture

    def show(self, event: Progress) -> None:
        """Raises: the host's exception, when the user interrupted the run."""
        self._event = event
        model_management.throw_exception_if_processing_interrupted()
        done = sum(units for stage, units in self._units.items() if _before(stage, event.stage))
        done += self._units.get(event.stage, 0) * event.fraction
        part = done / max(sum(self._units.values()), 1)
        value = round(_SCALE * (self._picture + part) / self._pictures)
        now = time.monotonic()
        if event.picture is not None and event.step == 0 and now - self._looked > _PREVIEW_SECONDS:
            self._looked, self._told = now, max(value, self._told)
            image = PIL.Image.fromarray(preview(event.picture, _PREVIEW_SIDE))
            self._bar.update_absolute(self._told, _SCALE, ("JPEG", image, _PREVIEW_SIDE))
        elif value > self._told:  # steps that a batch has told already come again when it is done
            self._told = value
            self._bar.update_absolute(value, _SCALE)

    def step(self, step: int, of: int) -> None:
        """A model's step within the batch of the last event. Raises: as `show`."""
        if self._event is not None:
            self.show(replace(self._event, step=step, steps=of))


def _before(stage: Stage, other: Stage) -> bool:
    order = list(Stage)
    return order.index(stage) < order.index(other)


def run(
    picture: Picture,
    settings: Settings,
    *,
    upscaler: HostUpscaler | None,
    refiner: Refiner | None,
    mask: Array | None,
    bar: Bar,
) -> Picture:
    """The picture enlarged and redrawn; outside of the mask it is the enlarged picture, bit for bit.

    Args:
        mask: (h, w, 1) of any size over the picture, 1 where it is redrawn; the refiner has it too.
    """
    base: Image | None = None
    with closing(pipeline.run(picture, settings, upscaler=upscaler, refiner=refiner, inline=True)) as events:
        for event in events:
            if isinstance(event, Notice):
                log.info("%s", event.message)
            elif isinstance(event, Progress):
                if event.stage is not Stage.ENLARGE and upscaler is not None:
                    upscaler.release()
                if event.stage is Stage.REFINE and mask is not None and base is None:
                    assert event.picture is not None
                    base = event.picture.pixels.copy()
                bar.show(event)
            else:
                if base is not None and mask is not None:
                    _keep_outside(event.picture.pixels, base, mask, event)
                return event.picture
    raise AssertionError("a run ends with Finished")


def _keep_outside(canvas: Image, base: Image, mask: Array, event: Finished) -> None:
    """Take away, in place, what the last filter did beyond the mask."""
    size = event.picture.size
    for top in range(0, size.height, 256):
        box = Box(0, top, size.width, min(top + 256, size.height))
        rows = canvas[box.slices]
        rows[:] = np.where(mask_under(mask, box, size) > 0, rows, base[box.slices])


def mend(picture: Picture, reference: Image, settings: Settings, refiner: Refiner) -> Iterator[Event]:
    """The events of redrawing the joints that a tiling as in the settings has left in a picture, in its own pixels."""
    canvas = picture.pixels
    plan = plan_tiles(picture.size, settings.tiles, multiple=refiner.multiple)
    seams = settings.seams
    score = seam_score(canvas, reference, plan) if seams.mode == "auto" else None
    plans = seam_plans(plan, seams.mode, width=seams.width, multiple=refiner.multiple)
    plans = where_visible(plans, score) if seams.mode == "auto" and score is not None else plans
    tiles = [tile.box.size for part in plans for tile in part]
    sampling = settings.diffusion.sampling

    seed, scale = settings.diffusion.seed, settings.target.scale
    redraw = redrawing(refiner, sampling, seed=seed, wavelet=settings.wavelet, scale=scale)
    if tiles and sampling.strength > 0:
        to_grid(canvas)
        batch = settings.tiles.batch or max(refiner.batch_size(tiles[0]), 1)
        for item in refine(canvas, plans, redraw, batch=batch, inline=True):
            if isinstance(item, Notice):
                yield item
            else:
                done, boxes, step, steps = item
                yield Progress(
                    stage=Stage.SEAMS, done=done, total=len(tiles), step=step, steps=steps, boxes=boxes, picture=picture
                )


def shown(events: Iterator[Event], bar: Bar) -> None:
    """Run the events to their end, with progress."""
    with closing(cast(Any, events)):
        for event in events:
            if isinstance(event, Notice):
                log.info("%s", event.message)
            elif isinstance(event, Progress):
                bar.show(event)
