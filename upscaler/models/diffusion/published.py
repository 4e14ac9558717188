"""The files of one-step models, as their authors publish them.

They are pickles of tensors and names, which are read weights-only; `convert` makes safetensors of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ... import families
from ...errors import UnsupportedModel
from ...text import one_line

_PARTS = ("unet", "vae")


class Published(NamedTuple):
    """A one-step model as it is published: tensors by the names of the network that its authors trained.

    Attributes:
        unet, vae: changes to the UNet and to the autoencoder; the second is empty for PiSA-SR.
    """

    kind: families.OneStep
    unet: dict[str, torch.Tensor]
    vae: dict[str, torch.Tensor]


def read(path: Path) -> Published:
    """The one-step model in a `.pkl` as its authors publish it, or in what `convert` made of one. Executes nothing of it.

    Raises:
        UnsupportedModel: it holds something else, or is damaged.
    """
    from safetensors.torch import load_file

    kind = families.one_step_kind(path)
    if kind is None:
        raise UnsupportedModel(
            f"{path}: is not a one-step model that can be run; supported are pisa_sr.pkl and osediff.pkl, as published or as "
            "`upscaler models convert` makes of them"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            tensors = load_file(path)
            parts = {
                part: {name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{part}.")}
                for part in _PARTS
            }
        else:
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
            parts = {part: _tensors(content.get(f"state_dict_{part}", {})) for part in _PARTS}
    except Exception as error:  # unpicklers and safetensors raise whatever a damaged file leads them to
        raise UnsupportedModel(f"{path}: cannot be read as a one-step model: {one_line(error)}") from error
    return Published(kind, **parts)


def as_safetensors(source: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of the safetensors file that a published `.pkl` becomes. Raises: as `read`."""
    published = read(source)
    parts = {"unet": published.unet, "vae": published.vae}
    tensors = {f"{part}.{name}": value.contiguous() for part in _PARTS for name, value in parts[part].items()}
    return tensors, {"model": published.kind}


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("its state holds something other than tensors")
    return dict(state)
