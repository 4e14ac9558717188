"""One run, from picture to picture: a generator of events that executes a `RunPlan` over models known only by protocols.

    enlarge -> consistency -> refine tiles and blend -> seam fix -> consistency -> faces

Wavelet filtering belongs to the tile: what a refiner made of it is filtered against what it was given, before it is
blended. So neighbours already agree in tone where they meet, a joint is judged as it will stay, and the picture is
right at every moment, also when the run is stopped.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from .arrays.circle import beginning
from .arrays.jpeg import ALIGN
from .arrays.store import IN_MEMORY, Store
from .arrays.strips import strips
from .arrays.types import Array, Image
from .errors import OutOfMemory, SettingsError
from .events import Event, Finished, Notice, Progress, Stage
from .geometry import Box, Size
from .models.base import Face, FaceRestorer, Joins, Refiner, Upscaler
from .options.settings import Sampling, Settings
from .pictures.picture import Picture
from .plan import plan_run
from .run_plan import RunPlan
from .stages.by_place import Caption, Places
from .stages.consistency import enforce_consistency
from .stages.enlarge import enlarge
from .stages.faces import restore_faces
from .stages.refine import refine
from .stages.seam_score import SeamReport, seam_score, where_visible
from .tiling.canvas import to_grid
from .tiling.journal import Journal
from .tiling.loop import Step
from .tiling.mask import Mask
from .tiling.tiles import Plan
from .tiling.worker import Hold

_SEAM_SEED = 1 << 64  # seam passes see other noise than the pass whose joints they mend


def run(
    picture: Picture,
    settings: Settings,
    *,
    upscaler: Upscaler | None,
    refiner: Refiner | None,
    restorer: FaceRestorer | None = None,
    faces: Sequence[Face] = (),
    region: Box | None = None,
    mask: Array | None = None,
    journal: Journal | None = None,
    store: Store = IN_MEMORY,
    caption: Caption | None = None,
    inline: bool = False,
    hold: Hold | None = None,
) -> Iterator[Event]:
    """The events of enlarging `picture`; the last one is `Finished`.

    Close the generator to stop the run: the network stops after the evaluation at work, and `Progress.picture` of any
    earlier event holds all that was finished. The same settings and models give the same picture, whatever the batch
    size, the order of independent tiles or the region.

    Args:
        picture: not modified.
        upscaler: `None` enlarges by resampling.
        refiner: `None` leaves out the diffusion pass; so does a strength of 0.
        restorer, faces: draws these faces of the picture anew at the end; `None` leaves them as they are.
        region: run only the tiles that this part of the result depends on, in pixels of the result; `Finished` then
            holds this part alone.
        mask: where diffusion and restorer may change the enlarged picture: (h, w) float32 in [0, 1], of any size, laid
            over the whole result. Where it is 0 the result has the bytes of a run whose refiner changes nothing;
            from there on it fades in over half of `tiles.feather`, or as slowly as it does itself.
        journal: keeps the finished tiles, and gives back those that a run with the same settings has finished before.
        store: where the canvas is kept; default is memory.
        caption: says what a tile shows, for those that no region of `diffusion.tile_prompt` has a prompt for.
        inline: run the models in the thread that iterates, for a host that allows them no other. The steps of a batch
            are then told when it is done, and a model that should stop within one raises `Cancelled` itself.
        hold: called after each step of a network, in its thread, which rests until it comes back.

    Raises:
        Cancelled: an inline model was stopped; `Progress.picture` of the last event holds what was finished.
        SettingsError: the target size is out of range for this picture.
        OutOfMemory: one tile alone does not fit; says which settings would.
    """
    alpha = picture.alpha is not None
    faces = faces if restorer is not None else ()
    plan = plan_run(picture.size, settings, upscaler=upscaler, refiner=refiner, alpha=alpha, region=region, faces=faces)
    if any(plan.wrap):
        blocks = 1 if picture.jpeg_quantisation is None else ALIGN
        plan = plan.starting_at(*beginning(picture.pixels, plan.wrap, step=blocks))
    job = _Run(picture, settings, plan, mask=mask, journal=journal, store=store, inline=inline, hold=hold)
    yield from job.enlarge(upscaler)
    report = None
    if refiner is not None and plan.tiles is not None:
        job.set_places(refiner, caption)
        base = job.store.copy(job.canvas)
        yield from job.redraw_tiles(refiner)
        report = yield from job.mend_seams(base, refiner)
        yield from job.finish(base)
        del base  # not in memory any more while the result is looked at and written
    if restorer is not None and plan.faces is not None:
        yield from job.restore(plan.faces, restorer)
    yield Finished(picture=job.part(region), settings=settings, seconds=job.seconds, seams=report)


def mend(
    picture: Picture,
    settings: Settings,
    *,
    refiner: Refiner,
    reference: Image | None = None,
    inline: bool = False,
) -> Iterator[Event]:
    """The events of redrawing the joints that tiles as in the settings have left in a picture, in its own pixels.

    They are redrawn as the seam pass of a run redraws them, with the same noise. The last event is `Finished`.

    Args:
        picture: not modified.
        settings: `target.scale` says how many times larger than its source the picture is.
        reference: the picture before the tiles were drawn, (H, W, 3); with it `auto` finds the joints that stand out,
            without it redraws all of them.
        inline: as in `run`.

    Raises:
        Cancelled, OutOfMemory: as `run`.
    """
    whole = settings.but(scale=1.0, width=None, height=None, megapixels=None, strength=1.0)
    plan = plan_run(picture.size, whole, upscaler=None, refiner=refiner)
    job = _Run(replace(picture, pixels=picture.pixels.copy()), settings, plan, inline=inline)
    to_grid(job.canvas)
    job.factor = settings.target.scale
    report = yield from job.mend_seams(reference, refiner)
    yield Finished(picture=job.result, settings=settings, seconds=job.seconds, seams=report)


class _Run:
    """The state of one run: the result so far and the clock."""

    def __init__(
        self,
        picture: Picture,
        settings: Settings,
        plan: RunPlan,
        *,
        mask: Array | None = None,
        journal: Journal | None = None,
        store: Store = IN_MEMORY,
        inline: bool,
        hold: Hold | None = None,
    ) -> None:
        self.picture = self.result = picture
        self.settings = settings
        self.plan = plan
        self.factor = plan.factor
        feather = settings.tiles.feather / 2
        self.mask = None if mask is None else Mask(mask, plan.target, feather=feather, wrap=plan.wrap)
        self.journal = journal
        self.store = store
        self.inline, self.hold = inline, hold
        self.seconds: dict[Stage, float] = {}
        self.places: Places | None = None

    @property
    def canvas(self) -> Image:
        return self.result.pixels

    def set_places(self, refiner: Refiner, caption: Caption | None) -> None:
        """Let the prompts and strengths of tiles depend on where they lie, as far as the settings say so."""
        reads = getattr(refiner, "takes_prompt", True)
        found = Places(
            self.picture.pixels, self.plan.target, self.settings, wrap=self.plan.wrap, prompts=reads, caption=caption
        )
        self.places = found if found.differ else None

    def part(self, region: Box | None) -> Picture:
        """The result, or what lies in the region."""
        if region is None:
            return self.result
        rows, columns = region.slices
        alpha = None if self.result.alpha is None else self.result.alpha[rows, columns].copy()
        return replace(self.result, pixels=self.canvas[rows, columns].copy(), alpha=alpha)

    def enlarge(self, upscaler: Upscaler | None) -> Iterator[Event]:
        """Enlarge the picture, and its opacity the same way, and make it true to the input."""
        layers = [self.picture.pixels]
        if self.picture.alpha is not None:
            layers.append(self._in_three_channels(self.picture.alpha))
        each = sum(len(step.plan) for step in self.plan.passes)
        alpha: Array | None = None
        with self._clock(Stage.ENLARGE):
            for index, layer in enumerate(layers):
                for item in enlarge(
                    layer,
                    self.plan.target,
                    self.plan.passes,
                    upscaler=upscaler,
                    store=self.store,
                    journal=self.journal,
                    wrap=self.plan.wrap,
                    inline=self.inline,
                    hold=self.hold,
                    linear=not self.plan.plain,
                ):
                    if isinstance(item, Notice):
                        yield item
                        continue
                    canvas, step = item
                    if index == 0:
                        self.result = replace(self.picture, pixels=canvas, alpha=None)
                    elif step.step == 0:  # alpha changes with a finished tile, not with each layer of the network
                        if alpha is None or alpha.shape != canvas.shape[:2]:
                            alpha = self.store.empty(canvas.shape[:2])
                            self.result = replace(self.result, alpha=alpha)
                        size = Size(canvas.shape[1], canvas.shape[0])
                        for part in (part for box in step.boxes for part in box.parts(size, self.plan.wrap)):
                            alpha[part.inside.slices] = canvas[part.inside.slices].mean(axis=2)
                    step = step._replace(done=step.done + index * each)
                    yield self._progress(Stage.ENLARGE, step, each * len(layers))
            if not self.plan.plain:
                self._make_true_to_input(self.canvas)
            _finish_pixels(self.canvas)

    def redraw_tiles(self, refiner: Refiner) -> Iterator[Event]:
        """Redraw the tiles of the plan: each by itself, or all together as one."""
        tiles, sampling, places = self.plan.tiles, self.plan.sampling, self.places
        assert tiles is not None
        if self.plan.joint:
            if not isinstance(refiner, Joins):
                raise SettingsError("tiles.mode: joint runs in one process; leave out workers, or use tiles")
            if places is not None:
                sampling, places = places.together(sampling, self.canvas, tiles), None
            refiner, tiles = refiner.jointly(tiles, self._batch(refiner, tiles.tile)), tiles.whole
        yield from self.redraw(Stage.REFINE, [tiles], sampling, refiner, places)

    def _batch(self, refiner: Refiner, tile: Size) -> int:
        return self.settings.tiles.batch or max(refiner.batch_size(tile), 1)

    def _in_three_channels(self, plane: Array) -> Image:
        """A plane (h, w) as a picture, which the super-resolution network takes."""
        image = self.store.empty((*plane.shape, 3))
        for rows in strips(*plane.shape):
            image[rows] = plane[rows, :, None]
        return image

    def redraw(
        self,
        stage: Stage,
        plans: Sequence[Plan],
        sampling: Sampling,
        refiner: Refiner,
        places: Places | None,
        *,
        seed: int = 0,
    ) -> Iterator[Event]:
        """Redraw the tiles of some plans in the canvas."""
        total = sum(map(len, plans))
        if not total:
            return
        tile = next(plan.tile for plan in plans if len(plan))
        steps = refine(
            self.canvas,
            plans,
            refiner,
            sampling=sampling,
            seed=self.settings.diffusion.seed + seed,
            wavelet=self.settings.wavelet,
            scale=self.factor,
            batch=self._batch(refiner, tile),
            mask=self.mask,
            alpha=self.result.alpha,
            places=places,
            journal=self.journal,
            start=self.plan.start_in(self.plan.target),
            inline=self.inline,
            hold=self.hold,
        )
        with self._clock(stage):
            try:
                for item in steps:
                    yield item if isinstance(item, Notice) else self._progress(stage, item, total)
            except OutOfMemory as error:
                together = self.plan.joint and stage is Stage.REFINE
                advice = "mode tiles should fit" if together else _advice(self.settings, refiner, tile)
                raise OutOfMemory(f"{error}; {advice}") from None

    def mend_seams(self, base: Image | None, refiner: Refiner) -> Generator[Event, None, SeamReport | None]:
        """Redraw the joints as the settings say; `base` is the picture before tiles were drawn, `None` if not known."""
        assert self.plan.tiles is not None
        before = None if base is None else seam_score(self.canvas, base, self.plan.tiles)
        plans = list(self.plan.seams)
        if plans and before is not None and self.settings.seams.mode == "auto":
            plans = where_visible(plans, before)
        redrawn = sum(map(len, plans))
        yield from self.redraw(Stage.SEAMS, plans, self.plan.seam_sampling, refiner, self.places, seed=_SEAM_SEED)
        if base is None or before is None:
            return None
        after = seam_score(self.canvas, base, self.plan.tiles) if redrawn else before
        return SeamReport(before, after, redrawn)

    def finish(self, base: Image) -> Iterator[Event]:
        """Restore the low-resolution content of the base, which is the input's, in the redrawn picture."""
        with self._clock(Stage.FINISH):
            yield self._progress(Stage.FINISH, Step(0), 1)
            if self.plan.plain:
                for pixels in (self.canvas,) if self.mask is None else (self.canvas, base):
                    self._make_true_to_input(pixels)
            else:
                size, strength = self.picture.size, self.settings.wavelet.consistency
                enforce_consistency(
                    self.canvas, base, store=self.store, size=size, strength=strength, wrap=self.plan.wrap
                )
            _finish_pixels(self.canvas)
            if self.mask is not None:
                _finish_pixels(base)
                self.mask.put_back(self.canvas, base)
            yield self._progress(Stage.FINISH, Step(1), 1)

    def restore(self, faces: Plan, restorer: FaceRestorer) -> Iterator[Event]:
        """Draw some faces anew in the canvas."""
        steps = restore_faces(
            self.canvas,
            faces,
            self.plan.squares,
            restorer,
            strength=self.settings.faces.strength,
            color=self.settings.wavelet.color,
            mask=self.mask,
            alpha=self.result.alpha,
            journal=self.journal,
            inline=self.inline,
            hold=self.hold,
        )
        with self._clock(Stage.FACES):
            for item in steps:
                yield item if isinstance(item, Notice) else self._progress(Stage.FACES, item, len(faces))
            _finish_pixels(self.canvas)

    def _make_true_to_input(self, pixels: Image) -> None:
        enforce_consistency(
            pixels,
            self.picture.pixels,
            store=self.store,
            strength=self.settings.wavelet.consistency,
            quantisation=self.picture.jpeg_quantisation,
            wrap=self.plan.wrap,
            start=self.plan.start,
        )

    def _progress(self, stage: Stage, at: Step, total: int) -> Progress:
        done, boxes, step, steps = at
        return Progress(stage=stage, done=done, total=total, step=step, steps=steps, boxes=boxes, picture=self.result)

    @contextmanager
    def _clock(self, stage: Stage) -> Generator[None, None, None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _advice(settings: Settings, refiner: Refiner, tile: Size) -> str:
    """Settings that would fit into the free memory and that are allowed together, in words."""
    for side in range((min(tile) - 1) // 64 * 64, 63, -64):
        if refiner.batch_size(Size(side, side)) < 1:
            continue
        overlap = min(settings.tiles.overlap, side // 4)
        changes = {"tile": str(side), "overlap": overlap, "feather": min(settings.tiles.feather, overlap)}
        settings.but(**changes)  # advice that would be refused is none
        changed = [f"{name} {value}" for name, value in changes.items() if getattr(settings.tiles, name) != value]
        return f"{' and '.join(changed)} should fit"
    return "no smaller tile seems to fit either; close other programs, or take a smaller model or device cpu"


def _finish_pixels(canvas: Image) -> None:
    """Clip a canvas to [0, 1] and put it on the grid of exact sums, as every stage expects it; in place, strip by strip."""
    for rows in strips(*canvas.shape[:2]):
        to_grid(np.clip(canvas[rows], 0, 1, out=canvas[rows]))
