"""The Python API: one call for a picture, one for its events; the one for its plan is `planning.plan`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from . import pipeline, resume
from .events import Event, Finished, Notice
from .fitting import changes
from .geometry import Box
from .loading import about, loaded
from .models import load_restorer
from .models.base import FaceDetector, FaceRestorer, Refiner, Upscaler, habits_of
from .options.settings import Settings
from .pictures.files import Source, load
from .pictures.masks import load_mask
from .pictures.picture import Picture
from .plan import plan_run
from .planning import faces_in, keep_within_memory, settle, without_effect
from .scratch import choose_store, store_for
from .stages.by_place import Caption
from .text import count
from .tiling.worker import Hold


def upscale(image: Source, scale: float = 4.0, **options: Any) -> Picture:
    """The picture enlarged, with new detail, and with its alpha, colour profile and metadata.

        upscaler.save(upscaler.upscale("photo.jpg"), "large.png")
        upscaler.upscale(array, 2, strength=0.3, seed=7, model="path/to/stable-diffusion").pixels

    Args:
        image: a path, bytes, a binary file, a Pillow image, an array (H, W, C), or a `Picture`.
        scale: 0.5 to 16; or give `width`, `height` or `megapixels`.
        options: any option of the command line by its long name with underscores, and `settings`, `upscaler`, `refiner`,
            `region`, `mask`, `caption`, `progress`, `restart`, `scratch`, `workers`, `detector` and `restorer` as in `run`.

    Raises:
        UpscalerError: see `upscaler.errors`.
    """
    if not {"width", "height", "megapixels"} & options.keys():
        options["scale"] = scale
    finished = [event for event in run(image, **options) if isinstance(event, Finished)]
    return finished[0].picture


def run(
    image: Source,
    settings: Settings | None = None,
    *,
    upscaler: Upscaler | None = None,
    refiner: Refiner | None = None,
    region: Box | None = None,
    mask: Source | None = None,
    caption: Caption | None = None,
    progress: str | os.PathLike[str] | resume.Kept | None = None,
    restart: bool = False,
    scratch: str | os.PathLike[str] | None = None,
    workers: str | int | None = None,
    detector: FaceDetector | None = None,
    restorer: FaceRestorer | None = None,
    hold: Hold | None = None,
    **options: Any,
) -> Iterator[Event]:
    """The events of enlarging a picture: `Progress` and `Notice`, and one `Finished` with the result at the end.

    Close the generator to stop; memory and models are free within one step, and `Progress.picture` of the last event
    holds what was finished.

    Args:
        image: as in `upscale`.
        settings: default is `Settings()`, with the defaults of the diffusion model; `options` are laid over it.
        upscaler, refiner: models that are loaded already, for many pictures in a row; default is what the settings name.
        region: only this part of the result, in its pixels; equal to that part of the whole result.
        mask: where the diffusion passes may change the enlarged picture: white there, black or transparent elsewhere; a
            picture of any size in the same ways as `image`, or an array (h, w) from 0 to 1. See `upscaler.pipeline.run`.
        caption: a function that says what a tile shows, (h, w, 3) float32 in [0, 1], such as a captioning network: the
            tile's prompt, unless a region of `tile_prompt` has one for it.
        progress: a folder that keeps finished tiles. A run with the same picture and settings goes on from them, and
            gives the same bytes as one that was never stopped. It is removed when the iterator is asked for what comes
            after `Finished`: save the result before. A `resume.Kept` spares a caller that has described the run
            already the time to do so again.
        restart: drop what another run has left in that folder, instead of raising `ProgressError`.
        scratch: a folder for the pictures of a run that do not fit into half of the free memory; default is the system's
            for temporary files.
        workers: run the models in so many processes, or on the Ray cluster at that address; see `upscaler.workers`. A
            `device` that names several GPUs, as "cuda:0,cuda:1", asks for one on each. The result has the same bytes.
        detector, restorer: what finds faces and draws them anew, where the settings ask for it; default is YuNet, and what
            the settings name.
        hold: a function that is called after each step of a network, in its thread, which rests until it comes back: a
            pause that takes one step, where one that just asks for no further event lets some batches go on.

    Raises:
        OutOfMemory: neither the memory nor the disk has room for the result.
        UpscalerError: see `upscaler.errors`.
    """
    settings = settle(settings, options, habits=None if refiner is None else habits_of(refiner))
    folder = None if scratch is None else Path(scratch)
    kept = partial(store_for, settings=settings, scratch=folder)
    picture = load(image, max_pixels=settings.output.pixel_limit, store=kept)
    yield from (Notice(message) for message in picture.notices)
    settings.target.of(picture.size)  # an impossible size is refused before models are loaded
    faces = faces_in(picture, detector) if settings.faces.strength > 0 else []
    if faces:
        restorer = restorer or load_restorer(settings.faces.model, device=settings.hardware.device)
    elif settings.faces.strength > 0:
        yield Notice("no face was found in this picture, so none is restored")
    asked, settings = settings, keep_within_memory(settings, picture.size, alpha=picture.alpha is not None)
    if settings != asked:
        yield Notice(f"to stay within {asked.hardware.memory}: {changes(asked, settings)}")
    where = None if mask is None else load_mask(mask, picture.size, max_pixels=settings.output.pixel_limit)
    with loaded(settings, workers, upscaler=upscaler, refiner=refiner) as (enlarger, redrawer):
        alpha = picture.alpha is not None
        planned = plan_run(
            picture.size, settings, upscaler=enlarger, refiner=redrawer, alpha=alpha, region=region, faces=faces
        )
        store = choose_store(planned, scratch=folder)
        yield from (Notice(message) for message in _tell_of_models(settings, redrawer, given=refiner is not None))
        if mask is not None and planned.tiles is None and planned.faces is None:
            yield Notice("the mask has no effect without a diffusion model")
        go = partial(
            pipeline.run,
            picture,
            settings,
            upscaler=enlarger,
            refiner=redrawer,
            restorer=restorer,
            faces=faces,
            region=region,
            mask=where,
            caption=caption,
            store=store,
            hold=hold,
        )
        if progress is None:
            yield from go()
            return
        if not isinstance(progress, resume.Kept):
            described = resume.describe_run(picture, settings, region=region, mask=where, caption=caption)
            progress = resume.Kept(Path(progress), described)
        with resume.keep_progress(progress.folder, progress.run, restart=restart) as journal:
            if len(journal):
                yield Notice(f"continuing from {count(len(journal), 'finished tile')} in {progress.folder}")
            yield from go(journal=journal)
        resume.drop(progress.folder)


def _tell_of_models(settings: Settings, refiner: Refiner | None, *, given: bool) -> Iterator[str]:
    """What the user should know of the diffusion model before it runs."""
    if refiner is None:
        return
    name = settings.diffusion.model
    if not given:
        yield from about(refiner, settings)
    told = settings.diffusion.prompt or settings.diffusion.tile_prompt
    if told and not getattr(refiner, "takes_prompt", True):
        yield f"the diffusion model {name} takes no prompt; it is ignored"
    if without := without_effect(settings, habits_of(refiner)):
        yield f"these options have no effect with the diffusion model {name}: {', '.join(without)}"
