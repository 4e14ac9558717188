"""Loads a ControlNet from a folder in diffusers format, or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ... import weights
from ...errors import SettingsError, UnsupportedModel
from ...text import one_line
from ..device import is_out_of_memory
from ..find import find_or_download
from .validate import whole

_WEIGHTS = "diffusion_pytorch_model"
_FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
_MUST_FIT = ("cross_attention_dim", "block_out_channels", "layers_per_block", "in_channels", "addition_embed_type")


def load_control(name: str, unet: Any, *, dtype: torch.dtype) -> Any:
    """The ControlNet of that name, in that folder, or of that hub id. Safetensors first, else pickles, weights-only.

    Args:
        unet: what it has to fit.

    Raises:
        WeightsNotFound: nothing of that name, and the hub has it not or is out of reach.
        UnsupportedModel: it is no ControlNet, or not one that we can run.
        SettingsError: it was made for another family of models.
    """
    from diffusers import ControlNetModel

    folder = _folder(name)
    try:
        config: Any = ControlNetModel.load_config(folder, local_files_only=True)
        _check(name, config, unet.config)
        safe = any(folder.glob("*.safetensors"))
        return whole(ControlNetModel, folder, torch_dtype=dtype, use_safetensors=safe, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, SettingsError) or is_out_of_memory(error):
            raise
        raise UnsupportedModel(f"{name}: cannot be loaded as a ControlNet: {one_line(error)}") from error


def _folder(name: str) -> Path:
    path = find_or_download(name, "control", _download, what="a ControlNet's folder in diffusers format")
    if weights.class_of(path):
        return path
    raise UnsupportedModel(f"{path}: is not a ControlNet's folder in diffusers format (no config.json of one in it)")


def _download(hub_id: str) -> Path:
    """The folder in the hub's cache, with weights in one format: the first of two that the repository has."""
    from huggingface_hub import snapshot_download

    folder = Path()
    for suffix in ("safetensors", "bin"):
        files = [f"{_WEIGHTS}{end}" for end in (f".{suffix}", f"-*.{suffix}", f".{suffix}.index.json")]
        folder = Path(snapshot_download(hub_id, allow_patterns=["config.json", *files]))
        if any(folder.glob(f"{_WEIGHTS}*.{suffix}")):
            break
    return folder


def _check(name: str, config: dict[str, Any], unet: dict[str, Any]) -> None:
    kind = config.get("_class_name")
    if kind != "ControlNetModel" or config.get("conditioning_channels", 3) != 3:
        raise UnsupportedModel(
            f"{name}: holds a {kind or 'model of no name'}; supported is ControlNetModel, with RGB hints"
        )
    for key in _MUST_FIT:
        ours, its = unet.get(key), config.get(key)
        if (tuple(ours) if isinstance(ours, list) else ours) != (tuple(its) if isinstance(its, list) else its):
            family = f" ({_FAMILIES[its]})" if its in _FAMILIES else ""
            raise SettingsError(
                f"diffusion.control: {name} was made for models with {key} {its}{family}, the diffusion model has {ours}; "
                "name one that fits, or none"
            )
