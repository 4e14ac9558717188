"""The head of a model file: the names of its tensors and their shapes. No torch here.

Of safetensors that is its JSON, of GGUF its table, of a pickle in torch's zip format the words in it, which are listed and
never run.
"""

from __future__ import annotations

import json
import os
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from . import ggufs
from .errors import UnsupportedModel

_LARGEST_HEADER = 100_000_000  # bytes, as in the safetensors library
_NUMBERS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8", "F8_E5M2": "float8"}


@dataclass(frozen=True, slots=True)
class Header:
    """What stands at the head of a model file.

    Attributes:
        shapes: of each tensor by name; an empty tuple where the format does not tell it.
        metadata: what the file says of itself.
        numbers: format of most of the weights, such as "float16" or "Q4_K"; empty where the file does not tell it.
        form: of the file.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    numbers: str = ""
    form: Literal["single file", "GGUF"] = "single file"


def header_of(path: Path) -> Header:
    """The head of a safetensors or GGUF file, or of a pickle as `torch.save` writes it.

    Raises:
        UnsupportedModel: it is none of them, or is cut off.
        OSError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        return _header_of_pickle(path)
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(ggufs.MAGIC):
            return _header_of_gguf(path)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= _LARGEST_HEADER:
            raise UnsupportedModel(
                f"{path}: is not a model file (neither safetensors nor torch's zip format); give a .safetensors file or a diffusers folder"
            )
        try:
            entries: dict[str, Any] = json.loads(file.read(length))
            metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
            shapes = {name: tuple(cast("list[int]", entry["shape"])) for name, entry in entries.items()}
            end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
            formats = [entry["dtype"] for entry in entries.values() if len(entry["shape"]) > 1]
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
            raise UnsupportedModel(f"{path}: is damaged, or not a safetensors file") from None
    size = os.path.getsize(path)
    if size < 8 + length + end:
        raise UnsupportedModel(
            f"{path}: is cut off ({size} of {8 + length + end} bytes), perhaps by an interrupted download; download it again"
        )
    most = max(set(formats), key=formats.count, default="")
    return Header(shapes, metadata, _NUMBERS.get(most, most.lower()))


def _header_of_gguf(path: Path) -> Header:
    head = ggufs.read_head(path)
    formats = [tensor.format for tensor in head.tensors.values() if len(tensor.shape) > 1]
    most = max(set(formats), key=formats.count, default="")
    shapes = {name: tensor.shape for name, tensor in head.tensors.items()}
    return Header(shapes, head.metadata, most, "GGUF")


def _header_of_pickle(path: Path) -> Header:
    """The words in a pickle: they are the names of its tensors, and more that does no harm. Nothing of it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(name) as member:  # a zip can hold a thousand times its size
                content = member.read(_LARGEST_HEADER + 1)
            if len(content) > _LARGEST_HEADER:
                raise UnsupportedModel(
                    f"{path}: its table of weights is above {_LARGEST_HEADER >> 20} MiB; it is damaged"
                )
            words = [str(argument) for code, argument, _ in pickletools.genops(content) if "UNICODE" in code.name]
    except (ValueError, OSError, zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, zlib.error):
        raise UnsupportedModel(f"{path}: is a zip file, but not one that torch wrote") from None
    return Header(dict.fromkeys(words, ()))
