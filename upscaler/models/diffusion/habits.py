"""How diffusion models are used that are not Stable Diffusion with a UNet; known without torch, for plans."""

from __future__ import annotations

from dataclasses import dataclass

from ...options.settings import Sampling
from ...weights import OneStep
from ..base import Habits, Recipe

_DEFAULTS = {
    "gan": "none",
    "strength": 1.0,
    "overlap": 128,  # a tile's own view of what it shows is all that there is: no later step lets neighbours agree
    "feather": 64,
    "seams": "none",  # a joint redrawn would be restored twice
}
_IGNORES = ("steps", "guidance", "negative", "scheduler", "seed")


def _once(sampling: Sampling) -> int:
    return 1


def pisa_evaluations(sampling: Sampling) -> int:
    """One where both parts of its change act alike, else one with both and one with the first alone."""
    return 1 if sampling.strength == sampling.control_scale else 2


ONE_STEP: dict[OneStep, Habits] = {
    "pisa-sr": Habits(first_stage="bicubic", defaults=_DEFAULTS, ignores=_IGNORES, evaluations=pisa_evaluations),
    "osediff": Habits(
        first_stage="bicubic", defaults=_DEFAULTS, ignores=(*_IGNORES, "control_scale"), evaluations=_once
    ),
}
"""Their first stage is a plain bicubic enlargement, which they were trained on."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models with a network of its own.

    Attributes:
        module: file in this folder with `load(folder, device, dtype)`, which gives its refiner.
        multiple: the sides of a tile are multiples of this, in pixels: of a patch.
        native: side of the squares that it was trained on, in pixels.
    """

    module: str
    multiple: int
    native: int
    habits: Habits


def _steps(sampling: Sampling) -> int:
    return sampling.steps


_SD3 = Family(
    module="sd3",
    multiple=16,
    native=1024,
    habits=Habits(
        recipe=Recipe(steps=30, least=8, scheduler="euler", guidance=4.5),
    ),
)
_FLUX = Family(
    module="flux",
    multiple=16,
    native=1024,
    habits=Habits(
        ignores=("negative",),
        evaluations=_steps,
        recipe=Recipe(steps=30, least=8, scheduler="euler", guidance=3.5),
    ),
)

FAMILIES: dict[str, Family] = {
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3Img2ImgPipeline": _SD3,
    "FluxPipeline": _FLUX,
    "FluxImg2ImgPipeline": _FLUX,
}
"""By the class that `model_index.json` of a folder in diffusers format names."""
