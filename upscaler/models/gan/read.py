"""A super-resolution network from its file. A model file is data and never code: safetensors, or a pickle read by
torch's weights-only unpickler."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...errors import UnsupportedModel
from ...families import NETWORK
from ...text import one_line
from ..device import is_out_of_memory
from .architectures import known_network

StateDict = dict[str, Any]

_WRAPPERS = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
"""Under which names a checkpoint holds its weights among other things."""
_PREFIXES = ("module.", "netG.")
"""What wrappers of training put before all names."""


class Network(Protocol):
    """A network with what is known of it, as spandrel describes it."""

    @property
    def model(self) -> torch.nn.Module: ...
    @property
    def architecture(self) -> Any: ...
    @property
    def purpose(self) -> str: ...
    @property
    def size_requirements(self) -> Any: ...

    scale: int
    input_channels: int
    output_channels: int
    supports_half: bool
    supports_bfloat16: bool

    def __call__(self, pictures: torch.Tensor, /) -> torch.Tensor: ...


DIFFUSION_KEYS = (NETWORK, "down_blocks.", "encoder.down_blocks.", "double_blocks.", "lora_", "unet.")


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
    return known_network(state) or _by_spandrel(state, path)


def _by_spandrel(state: StateDict, path: Path) -> Network:
    from spandrel import ImageModelDescriptor, ModelLoader  # brings torchvision and torch's compiler: a second

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
            return _unwrapped(load_file(path))
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
    return _unwrapped(cast(StateDict, loaded))


def _unwrapped(state: StateDict) -> StateDict:
    """The weights themselves, under the names that the network has for them."""
    inner = next((state[name] for name in _WRAPPERS if isinstance(state.get(name), dict)), state)
    if len(inner) == 1 and isinstance(only := next(iter(inner.values())), dict):
        inner = cast(StateDict, only)
    for prefix in _PREFIXES:
        if inner and all(name.startswith(prefix) for name in inner):
            inner = {name.removeprefix(prefix): value for name, value in inner.items()}
    return inner
