"""The files of one-step models, as their authors publish them.

They are pickles of tensors and names, which are read weights-only; `convert` makes safetensors of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

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


def convert(source: Path, target: Path) -> None:
    """Write a published `.pkl` as safetensors, whole or not at all.

    Raises:
        UnsupportedModel: as `read`.
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_file

    published = read(source)
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part in _PARTS
        for name, tensor in cast("dict[str, torch.Tensor]", getattr(published, part)).items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".tmp")
    os.close(handle)
    try:
        save_file(tensors, name, metadata={"model": published.kind})
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("its state holds something other than tensors")
    return dict(state)
