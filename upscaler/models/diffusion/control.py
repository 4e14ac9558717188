"""Loads ControlNets, each from a folder in diffusers format, from a single file, or from the hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import nn

from ... import families
from ...errors import SettingsError, UnsupportedModel
from ...options.loras import entries
from ...text import one_line
from ..device import convert, is_out_of_memory
from ..find import find_or_download
from .states import State, read_state
from .union import build_union, check_union, is_union, load_union
from .validate import whole

_WEIGHTS = "diffusion_pytorch_model"
_FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
_MUST_FIT = ("cross_attention_dim", "block_out_channels", "layers_per_block", "in_channels", "addition_embed_type")


class Controls(nn.Module):
    """ControlNets for one UNet, called as one: what they add to it is summed, each by its weight."""

    def __init__(self, networks: list[tuple[Any, float]]) -> None:
        super().__init__()
        self._networks = nn.ModuleList(network for network, _ in networks)
        self._weights = [weight for _, weight in networks]

    def forward(self, *inputs: Any, conditioning_scale: float, **more: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
        """As of a ControlNet with `return_dict=False`: for each skip connection of the UNet, and for its middle."""
        results = [
            network(*inputs, conditioning_scale=conditioning_scale * weight, **more)
            for network, weight in zip(self._networks, self._weights)
        ]
        down = [torch.stack(parts).sum(dim=0) for parts in zip(*(each for each, _ in results))]
        return down, torch.stack([middle for _, middle in results]).sum(dim=0)


def load_controls(text: str, unet: Any, *, dtype: torch.dtype) -> Any:
    """The ControlNets that a list names, with their weights; one of weight 1 is given as it is.

    Raises: as `load_control`, and
        SettingsError: "none" is one of several.
    """
    named = entries(text, option="diffusion.control")
    if not named:
        raise SettingsError("diffusion.control: is empty; name a ControlNet, or none")
    if len(named) > 1 and any(name == "none" for name, _ in named):
        raise SettingsError(f"diffusion.control: {text!r} names none among others; leave it out")
    networks = [(load_control(name, unet, dtype=dtype), weight) for name, weight in named]
    return networks[0][0] if [weight for _, weight in networks] == [1.0] else Controls(networks)


def load_control(name: str, unet: Any, *, dtype: torch.dtype) -> Any:
    """The ControlNet of that name, in that file or folder, or of that hub id. Safetensors first, else pickles, weights-only.

    Args:
        unet: what it has to fit.

    Raises:
        WeightsNotFound: nothing of that name, and the hub has it not or is out of reach.
        UnsupportedModel: it is no ControlNet, or not one that we can run.
        SettingsError: it was made for another family of models.
    """
    from diffusers import ControlNetModel

    folder = _folder(name)
    if folder.is_file():
        return _from_file(folder, unet, dtype)
    try:
        config: Any = ControlNetModel.load_config(folder, local_files_only=True)
        _check(name, config, unet.config)
        safe = any(folder.glob("*.safetensors"))
        if is_union(config):
            check_union(name, config["num_control_type"])
            return load_union(folder, dtype, safe=safe)
        return whole(ControlNetModel, folder, torch_dtype=dtype, use_safetensors=safe, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, SettingsError) or is_out_of_memory(error):
            raise
        raise UnsupportedModel(f"{name}: cannot be loaded as a ControlNet: {one_line(error)}") from error


def _folder(name: str) -> Path:
    path = find_or_download(name, "control", _download, what="a ControlNet's file, or its folder in diffusers format")
    if path.is_file() or families.class_of(path):
        return path
    raise UnsupportedModel(f"{path}: is not a ControlNet's folder in diffusers format (no config.json of one in it)")


def _from_file(file: Path, unet: Any, dtype: torch.dtype) -> Any:
    """A ControlNet in one file, under the names of the original code or of diffusers. Its shapes are those of its UNet."""
    from accelerate import init_empty_weights
    from diffusers import ControlNetModel

    contents = families.contents_of(file)
    if contents.kind != "control":
        raise UnsupportedModel(
            f"{file}: is not a ControlNet; it {contents.problem or f'is a {contents.family} checkpoint'}"
        )
    state = read_state(file, allow_pickle=True)
    wide = next((value for name, value in state.items() if name.endswith("attn2.to_k.weight")), None)
    width = unet.config["cross_attention_dim"]
    if wide is not None and wide.shape[1] != width:
        family = f" ({_FAMILIES[wide.shape[1]]})" if wide.shape[1] in _FAMILIES else ""
        raise SettingsError(
            f"diffusion.control: {file} was made for models with cross_attention_dim {wide.shape[1]}{family}, the diffusion "
            f"model has {width}; name one that fits, or none"
        )
    if "task_embedding" in state:
        return _united(file, state, unet, dtype)
    with init_empty_weights():
        shapes = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    try:
        with TemporaryDirectory() as config:
            shapes.save_config(config)
            network = ControlNetModel.from_single_file(cast("Any", state), config=config, local_files_only=True)
    except AttributeError:  # diffusers puts nothing in the place of what it does not find
        raise UnsupportedModel(f"{file}: is not a plain ControlNet for this model: weights are missing") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UnsupportedModel(f"{file}: cannot be loaded as a ControlNet for this model: {one_line(error)}") from error
    if any(weight.is_meta for weight in network.parameters()):
        raise UnsupportedModel(f"{file}: is not a plain ControlNet for this model: weights are missing")
    convert(network, dtype)
    return network


def _united(file: Path, state: State, unet: Any, dtype: torch.dtype) -> Any:
    try:
        network = build_union(str(file), state, unet)
    except (KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UnsupportedModel(
            f"{file}: is not a union ControlNet for this model: weights are missing, or of other shapes"
        ) from error
    convert(network, dtype)
    return network


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
    if (kind != "ControlNetModel" and not is_union(config)) or config.get("conditioning_channels", 3) != 3:
        raise UnsupportedModel(
            f"{name}: holds a {kind or 'model of no name'}; supported are ControlNetModel and ControlNetUnionModel, with RGB hints"
        )
    for key in _MUST_FIT:
        ours, its = unet.get(key), config.get(key)
        if (tuple(ours) if isinstance(ours, list) else ours) != (tuple(its) if isinstance(its, list) else its):
            family = f" ({_FAMILIES[its]})" if its in _FAMILIES else ""
            raise SettingsError(
                f"diffusion.control: {name} was made for models with {key} {its}{family}, the diffusion model has {ours}; "
                "name one that fits, or none"
            )
