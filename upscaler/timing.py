"""How long a run takes on this machine: seconds for a unit of work, by stage and model, learned from past runs.

One JSON file in the state folder holds the rates of the machines that share it. It may be lost or damaged at any time:
it is then learned anew, and no run fails because of it. For what has never run, rates of another machine are at hand,
scaled by how this one compares in what it has run.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import folders
from .events import Stage
from .options.settings import Settings
from .run_plan import RunPlan

_WEIGHT = 0.4  # of the latest run in the exponential mean

# Seconds times cores for a unit of `RunPlan.work`, on an AMD EPYC (Genoa) in float32.
_NETWORKS = {"realesrgan-x4plus": 1.6e-5, "realesrgan-x4plus-anime": 5.4e-6, "realesr-animevideov3": 8e-7}
_RESAMPLING, _FINISH, _POCKET = 2.8e-7, 1.5e-7, 1.6e-6
_STABLE_DIFFUSION = 8e-5  # of version 1: 0.7 T operations in the network for a tile of 512 x 512, and its autoencoder
_FACES = 2e-5  # of GFPGAN
_AUTO_SEAMS = 0.3  # of the planned pieces are redrawn
_FASTER = {"cuda": 60.0, "mps": 8.0}  # than one core
_MOST_CORES = 16  # beyond which the networks hardly gain


HOST_MODEL = "the host's"
"""The name of a diffusion model that is none of ours, such as the one that is loaded in ComfyUI: Stable Diffusion."""


class Expected(NamedTuple):
    """What a stage is expected to take.

    Attributes:
        seconds: wall time.
        learned: whether it has run on this machine before.
    """

    seconds: float
    learned: bool


class _Work(NamedTuple):
    """What a stage does: the name of its rate, how many units, and the rate that is taken until there is one."""

    rate: str
    units: float
    shipped: float


def learn(plan: RunPlan, settings: Settings, seconds: Mapping[Stage, float]) -> None:
    """Remember how long a whole run took.

    Args:
        plan: of the picture itself, by `upscaler.plan(picture, settings)`; not of a region.
        seconds: as `Finished` holds them; a stage that is missing was not needed and took none.
    """
    rates = _read()
    spent: dict[str, tuple[float, float]] = {}
    for stage, (rate, units, _) in _works(plan, settings).items():
        before, units_before = spent.get(rate, (0.0, 0.0))
        spent[rate] = before + seconds.get(stage, 0.0), units_before + units
    learned: dict[str, float] = {}
    for rate, (taken, units) in spent.items():
        latest = taken / units
        mean = rates.get(rate, latest)
        learned[rate] = mean + _WEIGHT * (latest - mean)
    folders.note(_file(), rates, learned)


def estimate(plan: RunPlan, settings: Settings) -> float:
    """Seconds that a run will take, beside loading models and files."""
    return sum(stage.seconds for stage in expected(plan, settings).values())


def expected(plan: RunPlan, settings: Settings) -> dict[Stage, Expected]:
    """What each stage that the plan needs will take, in their order."""
    rates, works = _read(), _works(plan, settings)
    ratios = [math.log(rates[work.rate] / work.shipped) for work in works.values() if rates.get(work.rate, 0.0) > 0]
    slower = math.exp(sum(ratios) / len(ratios)) if ratios else 1.0
    return {
        stage: Expected(work.units * rates.get(work.rate, slower * work.shipped), work.rate in rates)
        for stage, work in works.items()
    }


def _works(plan: RunPlan, settings: Settings) -> dict[Stage, _Work]:
    """The stages that the plan needs."""
    return {
        stage: _Work(_rate(stage, plan, settings), units, _shipped(stage, plan, settings))
        for stage, units in plan.work.items()
    }


def _rate(stage: Stage, plan: RunPlan, settings: Settings) -> str:
    """The name of what a stage's speed depends on."""
    hardware, diffusion = settings.hardware, settings.diffusion
    place = (
        f"{platform.node()} {hardware.device} {hardware.precision} {hardware.backend}{' compiled' * hardware.compile}"
    )
    if stage is Stage.ENLARGE:
        return f"{place} gan {settings.gan.model}" if plan.passes else f"{place} resampling"
    if stage is Stage.FINISH:
        return f"{place} finish"
    if stage is Stage.FACES:
        return f"{place} faces {settings.faces.model}"
    rate = f"{place} diffusion {diffusion.model}"
    if diffusion.control != "none" and diffusion.control_scale > 0:
        rate += f" control {diffusion.control}"
    # how many of the planned pieces `auto` redraws is part of what is learned
    return f"{rate} seams auto" if stage is Stage.SEAMS and settings.seams.mode == "auto" else rate


def _shipped(stage: Stage, plan: RunPlan, settings: Settings) -> float:
    """Seconds for a unit of work that are taken for a stage which has never run here."""
    diffusion = settings.diffusion
    cores = min(os.cpu_count() or 1, _MOST_CORES)
    if stage is Stage.FINISH:
        return _FINISH / cores
    if stage is Stage.ENLARGE and not plan.passes:
        return _RESAMPLING / cores
    speed = _FASTER.get(kind_of(settings.hardware.device), cores)
    if stage is Stage.FACES:
        return _FACES / speed
    if stage is Stage.ENLARGE:
        return _NETWORKS.get(settings.gan.model, _NETWORKS["realesrgan-x4plus"]) / speed
    rate = (_POCKET if diffusion.model == "pocket" else _STABLE_DIFFUSION) / speed
    if diffusion.control != "none" and diffusion.control_scale > 0:
        rate *= 1.5  # a ControlNet is a copy of half of the network
    return rate * _AUTO_SEAMS if stage is Stage.SEAMS and settings.seams.mode == "auto" else rate


def kind_of(device: str) -> str:
    """cpu, cuda or mps; for auto the likely one, since asking takes seconds."""
    if device != "auto":
        return device.split(":")[0]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if shutil.which("nvidia-smi") else "cpu"


def _read() -> dict[str, float]:
    """The rates; anything else in the file is left out."""
    return {
        name: float(rate)
        for name, rate in folders.read_object(_file()).items()
        if type(rate) in (int, float) and math.isfinite(rate) and rate >= 0
    }


def _file() -> Path:
    return folders.state_folder() / "timing.json"
