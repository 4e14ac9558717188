"""How each diffusion model is used: told from its family, its name, what its folder says, and the LoRAs laid over it.

Known without torch, for plans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ... import families, folders, weights
from ...options.loras import entries
from ...options.settings import Sampling
from ..base import Habits

PLAIN = Habits(steps=30, least=8, scheduler="dpmpp_2m", guidance=5.0, joint=True)
"""Stable Diffusion as it was trained."""

_POCKET = Habits(joint=True)
"""The bundled model draws in one step."""

_FEW_STEPS: tuple[tuple[str, Habits], ...] = (
    # Luo et al. 2023: four steps by the LCM sampler, guidance is in the network
    (r"lcm|latentconsistency", Habits(steps=4, least=2, scheduler="lcm", joint=True)),
    # Lin et al. 2024: Euler over the last timestep of each part, no guidance
    (r"lightning", Habits(steps=4, least=2, scheduler="euler", joint=True)),
    # Ren et al. 2024: DDIM over the last timestep of each part, no guidance
    (r"hypersd|hyper\d+step", Habits(steps=8, least=2, scheduler="ddim", joint=True)),
    # Sauer et al. 2023: one to four steps, ancestral, no guidance
    (r"turbo", Habits(steps=4, least=2, scheduler="euler_a", joint=True)),
    # Yin et al. 2024: four steps by the LCM sampler
    (r"dmd2", Habits(steps=4, least=2, scheduler="lcm", joint=True)),
)
"""By what is found in the name, in lower case without punctuation; the first that is."""


def _once(sampling: Sampling) -> int:
    return 1


def pisa_evaluations(sampling: Sampling) -> int:
    """One where both parts of its change act alike, else one with both and one with the first alone."""
    return 1 if sampling.strength == sampling.control_scale else 2


_OSEDIFF = Habits(
    first_stage="bicubic",
    defaults={
        "gan": "none",
        "strength": 1.0,
        "overlap": 128,  # a tile's own view of what it shows is all that there is: no later step lets neighbours agree
        "feather": 64,
        "seams": "none",  # a joint redrawn would be restored twice
    },
    ignores=("steps", "guidance", "negative", "scheduler", "seed", "control_scale"),
    evaluations=_once,
)
ONE_STEP: dict[families.OneStep, Habits] = {
    "osediff": _OSEDIFF,
    "pisa-sr": replace(
        _OSEDIFF,
        ignores=tuple(name for name in _OSEDIFF.ignores if name != "control_scale"),
        evaluations=pisa_evaluations,
    ),
}
"""Their first stage is a plain bicubic enlargement, which they were trained on."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models with a network of its own.

    Attributes:
        module: file in this folder with `load(parts)`, which gives its refiner.
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
    habits=Habits(steps=28, least=8, scheduler="euler", guidance=4.5, joint=True),
)
_FLUX = Family(
    module="flux",
    multiple=16,
    native=1024,
    habits=Habits(
        steps=28, least=8, scheduler="euler", guidance=3.5, ignores=("negative",), evaluations=_steps, joint=True
    ),
)

FAMILIES: dict[str, Family] = {
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3Img2ImgPipeline": _SD3,
    "FluxPipeline": _FLUX,
    "FluxImg2ImgPipeline": _FLUX,
}
"""By the class that `model_index.json` of a folder in diffusers format names."""
_OF_FILES = {"sd3": _SD3, "flux": _FLUX}
"""By the recipe of a file, a key in `families.TRANSFORMERS`."""


def family_at(path: Path) -> Family | None:
    """The family of the model in a folder or file; `None` for Stable Diffusion with a UNet."""
    if path.is_file():
        return _OF_FILES.get(families.contents_of(path).recipe)
    return FAMILIES.get(families.pipeline_of(path))


def habits_at(path: Path, lora: str = "") -> Habits:
    """The habits of the diffusion model in a file or folder, with these LoRAs (as in `settings.Diffusion`).

    At any strength few-step models get two evaluations at least, for with a single one a tile is only blurred.

    Raises:
        SettingsError: a weight of a LoRA is out of range.
    """
    one_step = families.one_step_kind(path)
    if one_step is not None:
        return ONE_STEP[one_step]
    family = family_at(path)
    if family is not None:
        return family.habits
    if _class_in(path / families.FOLDER_MARK, "unet") == "PocketUNet":
        return _POCKET
    kinds = [families.pipeline_of(path), _class_in(path / "scheduler" / "scheduler_config.json")]
    if any(kind.startswith(("LatentConsistency", "LCM")) for kind in kinds):
        return _FEW_STEPS[0][1]
    names = [path.stem if path.is_file() else path.name, *(Path(name).stem for name, _ in entries(lora))]
    return next((habits for habits in map(_by_name, names) if habits is not None), PLAIN)


def native_side(path: Path) -> int | None:
    """The side in pixels of the squares that a model of Stable Diffusion was trained on, if its file or folder tells."""
    recipe = families.contents_of(path).recipe if path.is_file() else ""
    folder = weights.family_folder(recipe) if recipe else path
    cells = folders.read_object(folder / "unet" / "config.json").get("sample_size")
    return cells * 8 if isinstance(cells, int) and 32 <= cells <= 256 else None


def _by_name(name: str) -> Habits | None:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for pattern, habits in _FEW_STEPS:
        if re.search(pattern, plain):
            told = re.search(r"(?<!\d)(\d{1,2})\s*[-_ ]?steps?", name.lower())
            return replace(habits, steps=max(int(told[1]), habits.least)) if told else habits
    return None


def _class_in(file: Path, key: str = "_class_name") -> str:
    """The class that a JSON file of a diffusers folder names; empty if it names none."""
    value = folders.read_object(file).get(key, "")
    return str(value[-1] if isinstance(value, list) and value else value)
