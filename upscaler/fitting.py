"""Settings that fit into a given memory: batch, parts that wait elsewhere, number format, tile; the mildest that is enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .errors import OutOfMemory, SettingsError
from .options.settings import Settings, options
from .run_plan import RunPlan

_GIB = 2**30
_CARDS = (4, 6, 8, 12)
"""Memory of usual graphics cards, in GB."""
LEAST_TILE = 256
"""Side in pixels that tiles are made smaller down to; smaller ones see too little of a picture."""
_GRAIN = 64
_RESERVE = 0.5  # GB of a card, which its driver and the screen take

Planned = Callable[[Settings], RunPlan]
"""The plan of the picture with some settings."""


def spare(settings: Settings, planned: Planned, *, kind: str) -> Settings:
    """The settings with the model kept as sparingly as their `hardware.memory` asks for with large pictures.

    Args:
        planned: the plan of a large picture.
        kind: of device, "cpu", "cuda" or "mps".
    """
    limit = settings.hardware.memory_bytes
    memory = None if limit is None else planned(settings).memories[1]
    if limit is None or memory is None or memory.largest == 0:  # no parts that could be kept in another way
        return settings
    steps = [{"batch": min(settings.tiles.batch, 1)}, {"low_vram": True}, {"storage": "float8"}]
    for change in steps:
        if (_needed(settings, planned(settings), kind) or 0) <= limit:
            break
        if kind != "cpu" or "low_vram" not in change:  # a processor's memory is where parts would wait
            settings = settings.but(**change)
    return settings


def fit(settings: Settings, planned: Planned, *, kind: str) -> Settings:
    """The settings with batch and tiles changed as little as it takes to stay within their `hardware.memory`.

    Args:
        kind: as above.

    Raises:
        OutOfMemory: the smallest tiles are not small enough; says what is.
        SettingsError: what the models take is not known.
    """
    limit = settings.hardware.memory_bytes
    if limit is None:
        return settings
    needs: list[int] = []
    for candidate in _candidates(settings, planned):
        needs.append(_known(_needed(candidate, planned(candidate), kind), settings))
        if needs[-1] <= limit:
            return candidate
    raise OutOfMemory(
        f"hardware.memory: {settings.hardware.memory} is not enough for {settings.diffusion.model} and this picture, which take "
        f"{math.ceil(min(needs) / _GIB * 10) / 10:g}GB at least; raise it, or take a smaller model or size"
    )


def changes(before: Settings, after: Settings) -> str:
    """The options that differ, as flags of the command line: "--tile 448 --low-vram"."""
    flags: list[str] = []
    for option in options():
        value = after.value(option)
        if value != before.value(option):
            flags.append(option.spec.flags[0] if value is True else f"{option.spec.flags[0]} {value}")
    return " ".join(flags)


def cards(settings: Settings, planned: Planned) -> str:
    """Which settings fit graphics cards of usual memories, in words; empty where what the models take is not known."""
    usual = settings.but(device="cuda", precision="auto", memory="auto", low_vram=False, storage="auto")
    found: dict[int, str] = {}
    for gigabytes in _CARDS:
        asked = usual.but(memory=f"{gigabytes - _RESERVE}GB")
        try:
            fitting = fit(spare(asked, planned, kind="cuda"), planned, kind="cuda")
        except OutOfMemory:
            found[gigabytes] = "too small"
            continue
        except SettingsError:
            return ""
        found[gigabytes] = changes(asked, fitting) or "no changes needed"
        if fitting == asked:
            break  # so does every larger one
    last = max(found)
    return "; ".join(
        f"{gb} GB{'' if gb < last or gb == max(_CARDS) else ' or more'}: {how}" for gb, how in found.items()
    )


def _known(needed: int | None, settings: Settings) -> int:
    if needed is None:
        raise SettingsError(
            f"hardware.memory: what {settings.diffusion.model} takes is not known; use auto, and choose tiles.tile and tiles.batch"
        )
    return needed


def _needed(settings: Settings, plan: RunPlan, kind: str) -> int | None:
    return plan.memory_bytes if kind == "cpu" else plan.device_bytes(low_vram=settings.hardware.low_vram)


def _candidates(settings: Settings, planned: Planned) -> Iterator[Settings]:
    """The settings as they are, then with smaller and smaller batches and tiles."""
    yield settings
    plan = planned(settings)
    if settings.tiles.batch > 1:
        settings = settings.but(batch=1)
        yield settings
    for side in _smaller(settings.gan.tile) if plan.passes else ():  # these make no difference to the picture
        settings = settings.but(gan_tile=side)
        yield settings
    for side in _smaller(max(plan.tile or (0,))):
        overlap = min(settings.tiles.overlap, side // 4)
        yield settings.but(tile=str(side), overlap=overlap, feather=min(settings.tiles.feather, overlap))


def _smaller(side: int) -> range:
    """Sides of tiles below that one, down to the least."""
    return range((side - 1) // _GRAIN * _GRAIN, LEAST_TILE - 1, -_GRAIN)
