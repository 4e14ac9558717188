"""A super-resolution network from its file. A model file is data and never code: safetensors, or a pickle read by
torch's weights-only unpickler."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader, canonicalize_state_dict

from ...errors import UnsupportedModel
from ...text import one_line
from ..device import is_out_of_memory

Network = ImageModelDescriptor[torch.nn.Module]
StateDict = dict[str, Any]

DIFFUSION_KEYS = ("model.diffusion_model.", "down_blocks.", "encoder.down_blocks.", "double_blocks.", "lora_", "unet.")


def read_network(path: Path) -> Network:
    """The network in a model file, in float32 on the CPU.

    Raises:
        UnsupportedModel: the file is not a super-resolution or restoration model; says what is wrong with it.
    """
    network = read_any(path)
    if network.purpose == "FaceSR":
        raise UnsupportedModel(
            f"{path}: this {network.architecture.name} model is for faces, not for super-resolution; give it as --face-model"
        )
    channels = network.input_channels, network.output_channels
    if channels not in ((1, 1), (3, 3), (4, 4)):
        raise UnsupportedModel(
            f"{path}: makes {channels[1]} channels of {channels[0]}; 1, 3 or 4 of as many are supported"
        )
    return network


def read_any(path: Path) -> Network:
    """The network in a file that makes a picture of a picture, whatever it is for. Raises: as `read_network`."""
    state = read_state_dict(path)
    diffusion = next((key for key in state if key.startswith(DIFFUSION_KEYS)), None)
    if diffusion is not None:
        raise UnsupportedModel(
            f"{path}: this is a diffusion model (it has {diffusion!r}), not a super-resolution model; "
            "give a diffusion model in diffusers folder format to --model"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the architectures' own code, nothing that its user could act on
            network = ModelLoader().load_from_state_dict(state)
    except Exception as error:  # a state dict that only looks like a known one fails in any way
        if is_out_of_memory(error):
            raise
        raise UnsupportedModel(
            f"{path}: no architecture that spandrel knows fits these weights ({one_line(error)})"
        ) from None
    if not isinstance(network, ImageModelDescriptor):
        raise UnsupportedModel(
            f"{path}: this {network.architecture.name} model is for {network.purpose}, not for super-resolution"
        )
    return network


def read_state_dict(path: Path) -> StateDict:
    """Names and tensors of a model file; nothing in it is executed.

    Raises:
        UnsupportedModel: it cannot be read as such.
    """
    if path.is_dir():
        raise UnsupportedModel(f"{path}: this is a folder; the GAN stage needs a .safetensors or .pth file")
    try:
        if path.suffix.lower() == ".safetensors":
            return canonicalize_state_dict(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UnsupportedModel(f"{path}: not a whole safetensors file ({one_line(error)})") from None
    except Exception as error:  # what a damaged or hostile pickle raises has no bounds
        if is_out_of_memory(error):
            raise
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for code ({code[1]}), which is never run" if code else "not a file of weights"
        raise UnsupportedModel(f"{path}: {reason}; use a .safetensors file or a plain state dict in .pth") from None
    if isinstance(loaded, dict) and not all(isinstance(key, str) for key in cast("dict[Any, Any]", loaded)):
        raise UnsupportedModel(
            f"{path}: its weights have no names; use a .safetensors file or a plain state dict in .pth"
        )
    if not isinstance(loaded, dict):
        raise UnsupportedModel(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    return canonicalize_state_dict(cast(StateDict, loaded))
