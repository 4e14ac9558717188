"""Reads weights out of model files: safetensors, GGUF, and pickles by a reader that runs nothing in them."""

from __future__ import annotations

import pickle
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ... import ggufs
from ...errors import SettingsError, UnsupportedModel
from ...text import one_line

State = dict[str, torch.Tensor]


class _Inert(dict[str, Any]):
    """Stands for every class that is not of torch in a pickle: takes whatever it is given, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


def read_state(file: Path, prefix: str = "", *, allow_pickle: bool = False) -> State:
    """The tensors whose names begin with `prefix`, under the rest of their names; float8 becomes float16.

    Matrices in a packed format of GGUF stay so (`is_packed`).

    Args:
        allow_pickle: read a pickle too, weights-only.

    Raises:
        SettingsError: it is a pickle, and they are not allowed; or GGUF, and its package is not installed.
        UnsupportedModel: it cannot be read.
    """
    if zipfile.is_zipfile(file):
        state = read_pickle(file, allow_pickle=allow_pickle)
        return {name.removeprefix(prefix): _plain(value) for name, value in state.items() if name.startswith(prefix)}
    try:
        if ggufs.is_gguf(file):
            return _read_gguf(file, prefix)
        with safe_open(file, "pt") as opened:
            names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118, it is no dict
            if any(name.endswith("scale_weight") for name in names):
                raise UnsupportedModel(
                    f"{file}: its float8 numbers are scaled tensor by tensor; use a float16 version of it"
                )
            return {name.removeprefix(prefix): _plain(opened.get_tensor(name)) for name in names}
    except (SafetensorError, OSError) as error:
        raise UnsupportedModel(f"{file}: cannot be read ({one_line(error)})") from error


def _read_gguf(file: Path, prefix: str) -> State:
    if find_spec("gguf") is None:
        raise SettingsError(
            f"diffusion.model: {file.name} is a GGUF file, which needs the package gguf; run: pip install gguf"
        )
    packing: Any = import_module("diffusers.quantizers.gguf.utils")  # it imports gguf

    state: State = {}
    with file.open("rb") as opened:
        for name, tensor in ggufs.read_head(file).tensors.items():
            if not name.startswith(prefix):
                continue
            opened.seek(tensor.start)
            content = torch.from_numpy(np.fromfile(opened, np.uint8, tensor.bytes))
            if tensor.format in _PLAIN:
                value = content.view(_PLAIN[tensor.format]).reshape(tensor.shape)
            else:
                kind = packing.gguf.GGMLQuantizationType[tensor.format]
                value = packing.GGUFParameter(content.reshape(*tensor.shape[:-1], -1), quant_type=kind)
                if value.ndim != 2:  # of a layer that has no packed form
                    value = packing.dequantize_gguf_tensor(value)
            state[name.removeprefix(prefix)] = value
    return state


_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def is_packed(value: torch.Tensor) -> bool:
    """Whether it is in a format of GGUF in which blocks of numbers share a scale."""
    return hasattr(value, "quant_type")


def read_pickle(file: Path, *, allow_pickle: bool) -> State:
    """The tensors in a file that `torch.save` wrote, from its `state_dict` if it has one.

    torch's weights-only reader makes tensors and plain containers; objects of other classes, such as what a training
    program leaves, are replaced by empty ones. No code of the file is run.

    Raises: as `read_state`.
    """
    content = load_pickle(file, allow_pickle=allow_pickle)
    for key in ("state_dict", "string_to_param", "model", "params_ema", "params"):
        if isinstance(content.get(key), dict):
            content = cast("dict[str, Any]", content[key])
            break
    return {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}


def load_pickle(file: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """All of a pickle that is a dictionary, as `read_pickle` reads it."""
    if not allow_pickle:
        raise SettingsError(
            f"diffusion.allow_pickle: {file.name} is a pickle, a format that can carry code; read only its weights with "
            f"--allow-pickle, or turn it into safetensors once with `upscaler models convert {file.name}`"
        )
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        with torch.serialization.safe_globals([(_Inert, name) for name in unknown]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise UnsupportedModel(f"{file}: cannot be read weights-only ({one_line(error)}); it may carry code") from error
    if not isinstance(content, dict):
        raise UnsupportedModel(f"{file}: holds no table of weights")
    return {str(name): value for name, value in cast("dict[Any, Any]", content).items()}


def _plain(value: torch.Tensor) -> torch.Tensor:
    """Eight-bit floats as float16, which holds all of them; nothing else can compute with them."""
    return value.to(torch.float16) if value.dtype in (torch.float8_e4m3fn, torch.float8_e5m2) else value
