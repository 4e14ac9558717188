"""The Python API: one call for a picture, one for its events, one for its plan."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

from . import pipeline, resume
from .errors import SettingsError, WeightsError
from .events import Event, Finished, Notice
from .fitting import LEAST_TILE, changes, fit, spare
from .geometry import Box, Size
from .models import (
    describe_refiner,
    describe_upscaler,
    load_detector,
    load_refiner,
    load_restorer,
    load_upscaler,
)
from .models.base import Face, FaceDetector, FaceRestorer, Habits, Redrawer, Refiner, Upscaler, habits_of
from .options.settings import Settings
from .options.settings import options as all_options
from .pictures.files import Source, load, size_in_header
from .pictures.masks import load_mask
from .pictures.picture import Picture
from .plan import RunPlan, plan_run
from .scratch import choose_store, store_for
from .stages.by_place import Caption
from .stages.faces import advice
from .text import count
from .timing import kind_of
from .workers import Pool, PooledRefiner, PooledUpscaler, cluster

_LARGE = Size(1024, 1024)  # a picture whose tiles are as large as they get


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

    Raises:
        OutOfMemory: neither the memory nor the disk has room for the result.
        UpscalerError: see `upscaler.errors`.
    """
    settings = _settings(settings, options, habits=None if refiner is None else habits_of(refiner))
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
    asked, settings = settings, _within_memory(settings, picture.size, alpha=picture.alpha is not None)
    if settings != asked:
        yield Notice(f"to stay within {asked.hardware.memory}: {changes(asked, settings)}")
    where = None if mask is None else load_mask(mask, picture.size)
    with loaded(settings, workers, upscaler=upscaler, refiner=refiner) as (enlarger, redrawer):
        alpha = picture.alpha is not None
        planned = plan_run(
            picture.size, settings, upscaler=enlarger, refiner=redrawer, alpha=alpha, region=region, faces=faces
        )
        store = choose_store(planned, scratch=folder)
        yield from (Notice(message) for message in _about_models(settings, redrawer, given=refiner is not None))
        if mask is not None and planned.tiles is None and planned.faces is None:
            yield Notice("without a diffusion pass the mask makes no difference")
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
        )
        if progress is None:
            yield from go()
            return
        if not isinstance(progress, resume.Kept):
            described = resume.describe_run(picture, settings, region=region, mask=where, caption=caption)
            progress = resume.Kept(Path(progress), described)
        with resume.keep_progress(progress.folder, progress.run, restart=restart) as journal:
            if len(journal):
                yield Notice(f"going on from {count(len(journal), 'finished tile')} in {progress.folder}")
            yield from go(journal=journal)
        resume.drop(progress.folder)


@contextmanager
def loaded(
    settings: Settings,
    workers: str | int | None = None,
    *,
    upscaler: Upscaler | None = None,
    refiner: Refiner | None = None,
) -> Generator[tuple[Upscaler | None, Refiner | None], None, None]:
    """The models that the settings name, for runs inside the block; those that are given stay what they are.

    Args:
        workers: as in `run`; they end with the block.
    """
    devices = settings.hardware.device.split(",")
    if workers is None and len(devices) == 1:
        yield upscaler or upscaler_for(settings), refiner or refiner_for(settings)
        return
    with cluster(str(workers or len(devices))) as share:
        on_each = [settings.but(device=devices[index % len(devices)]) for index in range(share.workers)]
        if upscaler is None and settings.gan.model != "none":
            upscaler = PooledUpscaler(Pool([partial(upscaler_for, each) for each in on_each], share))
        if refiner is None and settings.diffusion.model != "none" and settings.diffusion.strength > 0:
            refiner = PooledRefiner(Pool([partial(refiner_for, each) for each in on_each], share))
        yield upscaler, refiner


def _about_models(settings: Settings, refiner: Refiner | None, *, given: bool) -> Iterator[str]:
    """What the user should know of the diffusion model before it runs."""
    if refiner is None:
        return
    name = settings.diffusion.model
    if not given:
        yield from about(refiner, settings)
    told = settings.diffusion.prompt or settings.diffusion.tile_prompt
    if told and not getattr(refiner, "takes_prompt", True):
        yield f"the diffusion model {name} takes no prompt; it is ignored"
    if without := _without_effect(settings, habits_of(refiner)):
        yield f"with the diffusion model {name} these make no difference: {', '.join(without)}"


def fitted(settings: Settings, *, given: Collection[str]) -> Settings:
    """`settings` with the defaults of the diffusion model that they name, where those are not the general ones.

    Args:
        given: names of options that the user chose; they stay.
    """
    if settings.diffusion.model == "none":
        return settings
    with suppress(WeightsError):  # the run says what is wrong with it
        return _with_defaults(settings, _describe_refiner(settings).habits, given)
    return settings


def with_model(before: Settings, settings: Settings) -> Settings:
    """`settings`, in which another diffusion model or LoRA was chosen than `before`, with the defaults of the new one.

    What the old one's defaults have set, and nobody has changed since, is at its general default again.
    """
    old, new = _defaults_of(before), _defaults_of(settings)
    untouched = {
        option.name: option.default
        for option in all_options()
        if option.name in old and settings.value(option) == old[option.name]
    }
    return settings.but(**{**untouched, **new})


def _defaults_of(settings: Settings) -> dict[str, Any]:
    if settings.diffusion.model != "none":
        with suppress(WeightsError):
            return dict(_describe_refiner(settings).habits.defaults)
    return {}


def _with_defaults(settings: Settings, habits: Habits, given: Collection[str]) -> Settings:
    return settings.but(**{name: value for name, value in habits.defaults.items() if name not in given})


def _settings(settings: Settings | None, options: dict[str, Any], *, habits: Habits | None = None) -> Settings:
    """Settings of a call: those given, or else the default ones that go with the model, with options laid over them."""
    if settings is not None:
        return settings.but(**options)
    settings = Settings().but(**options)
    return fitted(settings, given=options) if habits is None else _with_defaults(settings, habits, options)


def advice_on_faces(image: Source, settings: Settings) -> str:
    """What a face model could do for a picture that is to be enlarged without one; empty where that is not known.

    Raises: ImageError.
    """
    if settings.faces.strength > 0:
        return ""
    picture = load(image, max_pixels=settings.output.pixel_limit)
    with suppress(SettingsError, WeightsError):  # nothing that finds faces is installed
        return advice(faces_in(picture), picture.size, settings.target.of(picture.size))
    return ""


def _without_effect(settings: Settings, habits: Habits) -> list[str]:
    """The options that were given another value than the model's default, and that it ignores."""
    changed = {option.name for option in all_options() if settings.value(option) != option.default}
    return [name for name in habits.ignores if name in changed]


def _describe_refiner(settings: Settings) -> Redrawer:
    diffusion, hardware = settings.diffusion, settings.hardware
    return describe_refiner(
        diffusion.model,
        lora=diffusion.lora,
        control=diffusion.control,
        device=kind_of(hardware.device),
        precision=hardware.precision,
        storage=hardware.storage,
    )


def upscaler_for(settings: Settings) -> Upscaler | None:
    """The super-resolution model that the settings name, loaded; `None` for "none"."""
    if settings.gan.model == "none":
        return None
    hardware = settings.hardware
    return load_upscaler(
        settings.gan.model, device=hardware.device, precision=hardware.precision, backend=hardware.backend
    )


def refiner_for(settings: Settings) -> Refiner | None:
    """The diffusion model that the settings name, loaded; `None` for "none" and for a strength of 0."""
    if settings.diffusion.model == "none" or settings.diffusion.strength == 0:
        return None
    settings = _sparing(settings)
    return load_refiner(
        settings.diffusion.model,
        control=settings.diffusion.control,
        vae=settings.diffusion.vae,
        lora=settings.diffusion.lora,
        embedding=settings.diffusion.embedding,
        clip_skip=settings.diffusion.clip_skip,
        base=settings.diffusion.base,
        allow_pickle=settings.diffusion.allow_pickle,
        device=settings.hardware.device,
        precision=settings.hardware.precision,
        low_vram=settings.hardware.low_vram,
        storage=settings.hardware.storage,
        memory=settings.hardware.memory_bytes,
    )


def about(refiner: Refiner | None, settings: Settings) -> list[str]:
    """What there is to tell of a diffusion model that has been loaded: its family, where the user gave a file."""
    told = getattr(refiner, "about", "")
    return [f"{settings.diffusion.model}: {told}"] if told else []


def plan(
    image: Source | Size, settings: Settings | None = None, *, region: Box | None = None, **options: Any
) -> RunPlan:
    """What a run would do to a picture, or to one of that size: sizes, tiles, evaluations, memory.

    Args:
        region: as in `run`.

    Loads no model; but of a super-resolution model of the user's own the file is read, since nothing else tells its
    scale.

    Raises:
        SettingsError: the settings do not fit this picture.
        WeightsNotFound: a model is not there.
    """
    settings = _settings(settings, options)
    restores = settings.faces.strength > 0 and not isinstance(image, Size)
    size, picture = _look_at(image, settings, decode=restores)
    alpha = picture is not None and picture.alpha is not None
    faces = faces_in(picture) if restores and picture is not None else []
    settings = _within_memory(settings, size, alpha=alpha)
    return _planned(size, settings, alpha=alpha, region=region, faces=faces)


def within_memory(image: Source | Size, settings: Settings) -> Settings:
    """The settings as a run of that picture, or of one of that size, has them: changed until they fit `hardware.memory`.

    Raises:
        OutOfMemory: nothing is small enough.
        SettingsError, WeightsNotFound: as `plan`, and where it is not known what a model takes.
    """
    size, picture = _look_at(image, settings)
    return _within_memory(settings, size, alpha=picture is not None and picture.alpha is not None)


def _look_at(image: Source | Size, settings: Settings, *, decode: bool = False) -> tuple[Size, Picture | None]:
    """The size of a picture that can be enlarged as the settings say; and itself, where its head does not tell, or if asked for.

    Raises:
        SettingsError: the target size is out of range for this picture.
    """
    size = image if isinstance(image, Size) else size_in_header(image, max_pixels=settings.output.pixel_limit)
    picture = None
    if size is None or decode:
        picture = load(cast("Source", image), max_pixels=settings.output.pixel_limit)
        size = picture.size
    settings.target.of(size)  # an impossible size is refused before models are looked for
    return size, picture


def _planned(
    size: Size,
    settings: Settings,
    *,
    alpha: bool = False,
    region: Box | None = None,
    faces: Sequence[Face] = (),
) -> RunPlan:
    """The plan by what is known of the models that the settings name."""
    enlarger = None if settings.gan.model == "none" else describe_upscaler(settings.gan.model)
    redrawer = None if settings.diffusion.model == "none" else _describe_refiner(settings)
    return plan_run(size, settings, upscaler=enlarger, refiner=redrawer, alpha=alpha, region=region, faces=faces)


_FOUND: WeakKeyDictionary[Picture, list[Face]] = WeakKeyDictionary()


def faces_in(picture: Picture, detector: FaceDetector | None = None) -> list[Face]:
    """The faces in a picture, in its pixels.

    Args:
        detector: default is YuNet, whose answer is remembered as long as the picture is there.

    Raises:
        SettingsError: OpenCV is not installed.
        WeightsNotFound: YuNet is not there.
    """
    if detector is not None:
        return detector(picture.pixels)
    if picture not in _FOUND:
        _FOUND[picture] = load_detector()(picture.pixels)
    return _FOUND[picture]


def _within_memory(settings: Settings, size: Size, *, alpha: bool) -> Settings:
    """The settings, changed as far as their `hardware.memory` asks for it. Raises: as `fitting.fit`."""
    kind = kind_of(settings.hardware.device)
    return fit(_sparing(settings), partial(_planned, size, alpha=alpha), kind=kind)


def _sparing(settings: Settings) -> Settings:
    """The settings with the diffusion model kept as sparingly as `hardware.memory` asks for, whatever the picture."""

    def planned(some: Settings) -> RunPlan:
        least = min(settings.gan.tile, LEAST_TILE)  # those of the first stage can be made smaller for any picture
        return _planned(_LARGE, some.but(scale=4.0, width=None, height=None, megapixels=None, gan_tile=least))

    return spare(settings, planned, kind=kind_of(settings.hardware.device))
