"""The Python API: one call for a picture, one for its events, one for its plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from . import pipeline
from .arrays.types import Array
from .events import Event, Finished, Notice
from .geometry import Box, Size
from .models import describe_refiner, describe_upscaler, load_refiner, load_upscaler
from .models.base import Refiner, Upscaler
from .options.settings import Settings
from .pictures.files import Source, load, size_in_header
from .pictures.picture import Picture
from .plan import RunPlan, plan_run


def upscale(image: Source, scale: float = 4.0, **options: Any) -> Picture:
    """The picture enlarged, with new detail, and with its alpha, colour profile and metadata.

        upscaler.save(upscaler.upscale("photo.jpg"), "large.png")
        upscaler.upscale(array, 2, strength=0.3, seed=7, model="path/to/stable-diffusion").pixels

    Args:
        image: a path, bytes, a binary file, a Pillow image, an array (H, W, C), or a `Picture`.
        scale: 0.5 to 16; or give `width`, `height` or `megapixels`.
        options: any option of the command line by its long name with underscores, `settings`, `upscaler`, `refiner` and
            `region` and `mask` as in `run`.

    Raises:
        UpscalerError: see `upscaler.errors`.
    """
    if not {"width", "height", "megapixels"} & options.keys():
        options["scale"] = scale
    for event in run(image, **options):
        if isinstance(event, Finished):
            return event.picture
    raise AssertionError("a run ends with Finished")


def run(
    image: Source,
    settings: Settings | None = None,
    *,
    upscaler: Upscaler | None = None,
    refiner: Refiner | None = None,
    region: Box | None = None,
    mask: Array | None = None,
    **options: Any,
) -> Iterator[Event]:
    """The events of enlarging a picture: `Progress` and `Notice`, and one `Finished` with the result at the end.

    Close the generator to stop; memory and models are free within one step, and `Progress.picture` of the last event
    holds what was finished.

    Args:
        image: as in `upscale`.
        settings: default is `Settings()`; `options` are laid over it.
        upscaler, refiner: models that are loaded already, for many pictures in a row; default is what the settings name.
        region: only this part of the result, in its pixels; equal to that part of the whole result.
        mask: where the diffusion passes may change the enlarged picture, as in `upscaler.pipeline.run`.
    """
    settings = (settings or Settings()).but(**options)
    picture = load(image, max_pixels=settings.output.pixel_limit)
    yield from (Notice(message) for message in picture.notices)
    settings.target.of(picture.size)  # an impossible size is refused before models are loaded
    upscaler = upscaler or upscaler_for(settings)
    refiner = refiner or refiner_for(settings)
    if told := getattr(refiner, "about", ""):
        yield Notice(f"{settings.diffusion.model}: {told}")
    if refiner is not None and settings.diffusion.prompt and not getattr(refiner, "takes_prompt", True):
        yield Notice(f"the diffusion model {settings.diffusion.model} takes no prompt; it is ignored")
    yield from pipeline.run(picture, settings, upscaler=upscaler, refiner=refiner, region=region, mask=mask)


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
    return load_refiner(
        settings.diffusion.model,
        control=settings.diffusion.control,
        vae=settings.diffusion.vae,
        lora=settings.diffusion.lora,
        embedding=settings.diffusion.embedding,
        clip_skip=settings.diffusion.clip_skip,
        allow_pickle=settings.diffusion.allow_pickle,
        device=settings.hardware.device,
        precision=settings.hardware.precision,
    )


def plan(image: Source | Size, settings: Settings | None = None, **options: Any) -> RunPlan:
    """What a run would do to a picture, or to one of that size: sizes, tiles, evaluations, memory.

    Loads no model; but of a super-resolution model of the user's own the file is read, since nothing else tells its
    scale.

    Raises:
        SettingsError: the settings do not fit this picture.
        WeightsNotFound: a model is not there.
    """
    settings = (settings or Settings()).but(**options)
    alpha = False
    size = image if isinstance(image, Size) else size_in_header(image, max_pixels=settings.output.pixel_limit)
    if size is None:
        picture = load(cast("Source", image), max_pixels=settings.output.pixel_limit)
        size, alpha = picture.size, picture.alpha is not None
    settings.target.of(size)  # an impossible size is refused before models are looked for
    enlarger = None if settings.gan.model == "none" else describe_upscaler(settings.gan.model)
    redrawer = (
        None
        if settings.diffusion.model == "none"
        else describe_refiner(settings.diffusion.model, lora=settings.diffusion.lora)
    )
    return plan_run(size, settings, upscaler=enlarger, refiner=redrawer, alpha=alpha)
