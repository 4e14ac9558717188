"""Union ControlNets: one network for many kinds of hints, of which ours is the tile itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UnsupportedModel
from .states import State
from .validate import whole

_TILE = 6
"""Which kind of hint the tile is, counted from 0, in the order that xinsir's ControlNet++ and all after it have."""


class Union(nn.Module):
    """A union ControlNet, called as a plain one whose hint is the tile."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: torch.Tensor, timestep: Any, *, controlnet_cond: torch.Tensor, **more: Any) -> Any:
        """As of a ControlNet."""
        kinds = sample.new_zeros(len(sample), self.network.config["num_control_type"])
        kinds[:, _TILE] = 1
        return self.network(
            sample, timestep, controlnet_cond=[controlnet_cond], control_type=kinds, control_type_idx=[_TILE], **more
        )


def is_union(config: dict[str, Any]) -> bool:
    """Whether that is the config of a union ControlNet, under the name of diffusers or of its authors."""
    return "Union" in str(config.get("_class_name")) or "num_control_type" in config


def check_union(name: str, kinds: int) -> None:
    """Raises: UnsupportedModel: it knows no tiles."""
    if kinds <= _TILE:
        raise UnsupportedModel(
            f"{name}: is a union ControlNet for {kinds} kinds of hints, of which tile is none; use its ProMax version"
        )


def load_union(folder: Path, dtype: torch.dtype, *, safe: bool) -> Union:
    """The union ControlNet in a folder in diffusers format."""
    from diffusers import ControlNetUnionModel

    local: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": safe, "local_files_only": True}
    return Union(whole(ControlNetUnionModel, folder, **local))


def build_union(name: str, state: State, unet: Any) -> Union:
    """A union ControlNet from its weights, which have the names of diffusers everywhere. Its shapes are those of its UNet.

    Raises:
        UnsupportedModel: it knows no tiles.
        RuntimeError: weights are missing, or of other shapes.
    """
    from accelerate import init_empty_weights
    from diffusers import ControlNetUnionModel

    kinds, channels = state["task_embedding"].shape
    check_union(name, kinds)
    blocks = range(
        sum(re.fullmatch(r"controlnet_cond_embedding\.blocks\.\d+\.weight", key) is not None for key in state)
    )
    first = state["controlnet_cond_embedding.conv_in.weight"].shape[0]
    widths = [state[f"controlnet_cond_embedding.blocks.{index}.weight"].shape[0] for index in blocks if index % 2]
    with init_empty_weights():
        like: Any = ControlNetUnionModel.from_unet(unet, load_weights_from_unet=False)
        config: dict[str, Any] = {
            **like.config,
            "_use_default_values": [],  # else what was a default before stays one
            "num_control_type": kinds,
            "num_trans_channel": channels,
            "num_proj_channel": state["spatial_ch_projs.weight"].shape[0],
            "num_trans_layer": len({key.split(".")[1] for key in state if key.startswith("transformer_layes.")}),
            "conditioning_embedding_out_channels": (first, *widths),
        }
        network: Any = ControlNetUnionModel.from_config(config)
    network.load_state_dict(state, assign=True)
    return Union(network)
