"""The files of one-step models, as their authors publish them.

They are pickles of tensors and names, which are read weights-only; `models.convert` makes safetensors of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ... import weights
from ...errors import UnsupportedModel
from ...text import one_line

_PARTS = ("unet", "vae")
_TABLE = "state_dict_"  # before the name of a part


class Published(NamedTuple):
    """A one-step model as it is published: tensors by the names of the network that its authors trained.

    Attributes:
        unet, vae: changes to the UNet and to the autoencoder; the second is empty for PiSA-SR.
    """

    kind: weights.OneStep
    unet: dict[str, torch.Tensor]
    vae: dict[str, torch.Tensor]


def read(path: Path) -> Published:
    """The one-step model in a `.pkl` as its authors publish it, or in what `convert` made of one. Executes nothing of it.

    Raises:
        UnsupportedModel: it holds something else, or is damaged.
    """
    from safetensors.torch import load_file

    kind = weights.one_step_kind(path)
    if kind is None:
        raise UnsupportedModel(
            f"{path}: is not a one-step model that can be run; supported are pisa_sr.pkl and osediff.pkl, as published or as "
            "`upscaler models convert` makes of them"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            tensors = load_file(path)
            parts = {
                part: {name.removeprefix(before): value for name, value in tensors.items() if name.startswith(before)}
                for part in _PARTS
                for before in [f"{_TABLE}{part}."]
            }
        else:
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
            parts = {part: _tensors(content.get(f"{_TABLE}{part}", {})) for part in _PARTS}
    except Exception as error:  # unpicklers and safetensors raise whatever a damaged file leads them to
        raise UnsupportedModel(f"{path}: cannot be read as a one-step model: {one_line(error)}") from error
    return Published(kind, **parts)


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("something else than tensors is in its state")
    return dict(state)
