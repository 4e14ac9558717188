"""The models that settings name, loaded: here, or in several processes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from .models import load_refiner, load_upscaler
from .models.base import Refiner, Upscaler
from .options.settings import Settings
from .planning import sparing
from .workers import Pool, PooledRefiner, PooledUpscaler, cluster


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
    settings = sparing(settings)
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
        compile=settings.hardware.compile,
        memory=settings.hardware.memory_bytes,
    )


def about(refiner: Refiner | None, settings: Settings) -> list[str]:
    """What there is to tell of a diffusion model that has been loaded: its family, where the user gave a file."""
    told = getattr(refiner, "about", "")
    return [f"{settings.diffusion.model}: {told}"] if told else []
