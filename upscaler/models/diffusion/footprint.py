"""What memory a Stable Diffusion model takes, told from the shapes in its files. No torch here: plans ask."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ... import families, folders, weights
from ...errors import UpscalerError
from ...headers import header_of
from ...memory import Memory
from ...options.loras import entries

_Part = Literal["network", "codec", "text"]

FEATURE_MAPS = 60
"""Full resolution feature maps of the first level's width that a UNet evaluation holds at its peak."""
CONTROL_MAPS = 14
"""More of them, which a ControlNet hands over."""
CODING_MAPS = 7.0
"""The same of an autoencoder's decoder, whose full resolution is that of pixels."""
_UNET_WIDTH, _CODEC_WIDTH = 320, 128  # of the first level, in every Stable Diffusion
CODING_BYTES = CODING_MAPS * _CODEC_WIDTH * 4
"""Of a pixel, in float32."""
_CELL = 8 * 8  # pixels

_OF_FILE: tuple[tuple[str, _Part], ...] = (
    (families.NETWORK, "network"),
    ("first_stage_model.", "codec"),
    ("cond_stage_model.", "text"),
    ("conditioner.", "text"),
)
_OF_FOLDER: tuple[tuple[str, _Part], ...] = (
    ("unet", "network"),
    ("vae", "codec"),
    ("text_encoder", "text"),
    ("text_encoder_2", "text"),
)
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def memory_at(path: Path, *, precision: str, float8: bool = False, control: str = "none") -> Memory | None:
    """What the model in a file or folder takes; `None` where it is of another kind, or its files do not tell.

    Args:
        precision: float32, bfloat16 or float16.
        float8: the network's weights are kept in float8.
        control: the ControlNets laid over it, as in `settings.Diffusion`.
    """
    try:
        counts = _of_file(path) if path.is_file() else _of_folder(path)
        controls = sum(_control(name) for name, _ in entries(control) if control != "none")
    except (OSError, ValueError, UpscalerError):
        return None
    if not counts.get("network"):
        return None
    number = _BYTES[precision]
    kept = 1 if float8 else number
    parts = {name: count * (kept if name == "network" else number) for name, count in counts.items()}
    read = number * counts["network"]
    parts["network"] += kept * controls
    maps = FEATURE_MAPS + (CONTROL_MAPS if controls else 0)
    return Memory(
        loaded=sum(parts.values()),
        at_work=maps * _UNET_WIDTH * number / _CELL,
        coding=CODING_BYTES / (2 if precision == "float16" else 1),  # beside bfloat16 it sums in float32
        largest=max(parts.values()),
        # its weights as they were read lie beside those that are made of them
        loading=max(read - parts.get("text", 0), 0),
    )


def likely_precision(device: str, precision: str) -> str:
    """The number format that "auto" will be, as far as it is known without asking the device."""
    if precision != "auto":
        return precision
    if device != "cpu":
        return "float16"
    known = folders.read_object(folders.state_folder() / "backends.json")
    choices = [str(value) for key, value in known.items() if " | convolution | " in key]
    return next((name for name in _BYTES if choices and name in choices[-1]), "float32")


def _of_file(path: Path) -> dict[_Part, int]:
    counts: dict[_Part, int] = {}
    for name, shape in header_of(path).shapes.items():
        for prefix, part in _OF_FILE:
            if name.startswith(prefix):
                counts[part] = counts.get(part, 0) + math.prod(shape)
    return counts


def _of_folder(path: Path) -> dict[_Part, int]:
    counts: dict[_Part, int] = {}
    for name, part in _OF_FOLDER:
        files = sorted(file for file in (path / name).glob("*.safetensors") if len(file.suffixes) == 1)
        counts[part] = counts.get(part, 0) + _count(files or sorted((path / name).glob("*.safetensors"))[:1])
    return counts


def _control(name: str) -> int:
    with suppress(UpscalerError):
        return _count(weights.files_of(weights.find(name, "control")))
    return 0


def _count(files: Iterable[Path]) -> int:
    return sum(
        math.prod(shape) for file in files if file.suffix == ".safetensors" for shape in header_of(file).shapes.values()
    )
