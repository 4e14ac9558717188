"""How a diffusion model wants to be sampled: told from its name, what its folder says, and the LoRAs laid over it."""

from __future__ import annotations

import re
from pathlib import Path

from .. import folders, weights
from ..options.loras import entries
from .base import Recipe

POCKET = Recipe()
PLAIN = Recipe(steps=30, least=8, scheduler="dpmpp_2m", guidance=5.0)
"""Stable Diffusion as it was trained."""

_FEW_STEPS: tuple[tuple[str, Recipe], ...] = (
    # Luo et al. 2023: four steps by the LCM sampler, guidance is in the network
    (r"lcm|latentconsistency", Recipe(steps=4, least=2, scheduler="lcm")),
    # Lin et al. 2024: Euler over the last timestep of each part, no guidance
    (r"lightning", Recipe(steps=4, least=2, scheduler="euler")),
    # Ren et al. 2024: DDIM over the last timestep of each part, no guidance
    (r"hypersd|hyper\d+step", Recipe(steps=8, least=2, scheduler="ddim")),
    # Sauer et al. 2023: one to four steps, ancestral, no guidance
    (r"turbo", Recipe(steps=4, least=2, scheduler="euler_a")),
    # Yin et al. 2024: four steps by the LCM sampler
    (r"dmd2", Recipe(steps=4, least=2, scheduler="lcm")),
)


def recipe_of(path: Path, lora: str = "") -> Recipe:
    """The recipe for the diffusion model in a file or folder, with these LoRAs (as in `settings.Diffusion`).

    At any strength at least two evaluations are run, for with a single one a tile is only blurred.
    """
    if _class_in(path / weights.FOLDER_MARK, "unet") == "PocketUNet":
        return POCKET
    kinds = [
        _class_in(path / weights.FOLDER_MARK, "_class_name"),
        _class_in(path / "scheduler" / "scheduler_config.json"),
    ]
    if any(kind.startswith(("LatentConsistency", "LCM")) for kind in kinds):
        return _FEW_STEPS[0][1]
    names = [path.stem if path.is_file() else path.name, *(Path(name).stem for name, _ in entries(lora))]
    return next((recipe for recipe in map(_by_name, names) if recipe is not None), PLAIN)


def _by_name(name: str) -> Recipe | None:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for pattern, recipe in _FEW_STEPS:
        if re.search(pattern, plain):
            told = re.search(r"(?<!\d)(\d{1,2})\s*[-_ ]?steps?", name.lower())
            steps = max(int(told[1]), recipe.least) if told else recipe.steps
            return Recipe(steps, recipe.least, recipe.scheduler, recipe.guidance)
    return None


def _class_in(file: Path, key: str = "_class_name") -> str:
    """The class that a JSON file of a diffusers folder names; empty if it names none."""
    value = folders.read_object(file).get(key, "")
    return str(value[-1] if isinstance(value, list) and value else value)
