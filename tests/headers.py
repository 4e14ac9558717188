"""Model files of any size that take no room: the header is true, the weights are a hole. And what a hostile one holds."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"
KEYS = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
TEXT = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
OPEN_TEXT = "cond_stage_model.model.ln_final.weight"
XL_TEXT = "conditioner.embedders.1.model.ln_final.weight"

Shapes = dict[str, tuple[int, ...]]


def header(path: Path, shapes: Shapes, number: str = "F16") -> Path:
    """A safetensors file of the true size with a hole for its weights."""
    entries, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        entries[name] = {"dtype": number, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + offset)
    return path


class Evil:
    """A pickle of this makes a file when it is read by an unrestricted unpickler."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return shutil.copyfile, (__file__, str(self.victim))
