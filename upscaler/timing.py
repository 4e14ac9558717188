"""How long a run takes on this machine, learned from past runs: seconds for a unit of work, by stage and model.

One JSON file in the state folder holds the rates of the machines that share it. It may be lost or damaged at any time:
it is then learned anew, and no run fails because of it.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import folders
from .events import Stage
from .options.settings import Settings
from .plan import RunPlan

_WEIGHT = 0.4  # of the latest run in the exponential mean
_MOST_RATES = 500


class _Work(NamedTuple):
    """What a stage does: the name of its rate, and how many units."""

    rate: str
    units: float


def learn(plan: RunPlan, settings: Settings, seconds: Mapping[Stage, float]) -> None:
    """Remember how long a whole run took.

    Args:
        plan: of the picture itself, by `upscaler.plan(picture, settings)`; not of a region.
        seconds: as `Finished` holds them; a stage that is missing was not needed and took none.
    """
    rates = _read()
    spent: dict[str, tuple[float, float]] = {}
    for stage, (rate, units) in _works(plan, settings).items():
        before, units_before = spent.get(rate, (0.0, 0.0))
        spent[rate] = before + seconds.get(stage, 0.0), units_before + units
    for rate, (taken, units) in spent.items():
        latest = taken / units
        mean = rates.pop(rate, latest)  # the most recent ones stand last
        rates[rate] = mean + _WEIGHT * (latest - mean)
    with suppress(OSError):
        folders.replace_text(_file(), json.dumps(dict(list(rates.items())[-_MOST_RATES:]), indent=0))


def estimate(plan: RunPlan, settings: Settings) -> float | None:
    """Seconds that a run will take, beside loading models and files; `None` until each of its stages has run once."""
    rates = _read()
    works = _works(plan, settings).values()
    if any(work.rate not in rates for work in works):
        return None
    return sum(rates[work.rate] * work.units for work in works)


def _works(plan: RunPlan, settings: Settings) -> dict[Stage, _Work]:
    """The stages that the plan needs."""
    return {stage: _Work(_rate(stage, plan, settings), units) for stage, units in plan.work.items()}


def _rate(stage: Stage, plan: RunPlan, settings: Settings) -> str:
    """The name of what a stage's speed depends on."""
    hardware, diffusion = settings.hardware, settings.diffusion
    place = f"{platform.node()} {hardware.device} {hardware.precision} {hardware.backend}"
    if stage is Stage.ENLARGE:
        return f"{place} gan {settings.gan.model}" if plan.passes else f"{place} resampling"
    if stage is Stage.FINISH:
        return f"{place} finish"
    rate = f"{place} diffusion {diffusion.model}"
    if diffusion.control != "none" and diffusion.control_scale > 0:
        rate += f" control {diffusion.control}"
    # how many of the planned pieces `auto` redraws is part of what is learned
    return f"{rate} seams auto" if stage is Stage.SEAMS and settings.seams.mode == "auto" else rate


def _read() -> dict[str, float]:
    """The rates; anything else in the file is left out."""
    return {
        name: float(rate)
        for name, rate in folders.read_object(_file()).items()
        if type(rate) in (int, float) and math.isfinite(rate) and rate >= 0
    }


def _file() -> Path:
    return folders.state_folder() / "timing.json"
