"""What a model file holds, told from the names of its tensors: which kind and family, or what keeps it from being used.

Only the head of a file is read: of safetensors its JSON, of GGUF its table, of a pickle in torch's zip format the words in
it, which are listed and never run. No torch here.
"""

from __future__ import annotations

import json
import os
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from . import ggufs
from .errors import UnsupportedModel

Kind = Literal["gan", "diffusion", "control", "lora", "embedding", "vae", "face", "detector"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_LARGEST_HEADER = 100_000_000  # bytes, as in the safetensors library
_NUMBERS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8", "F8_E5M2": "float8"}

NETWORK = "model.diffusion_model."
"""What stands before the names of the network in a checkpoint with the names of the original code."""
SINGLE_FILES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "refiner": "SDXL refiner"}
"""Families of Stable Diffusion with a UNet whose single files we load: folder in `weights/families`, and what people call it."""
TRANSFORMERS = {"sd3": "SD 3", "flux": "Flux"}
"""The same of families with a transformer, whose files mostly hold that alone; the rest is another model's (`--base`)."""


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


@dataclass(frozen=True, slots=True)
class Contents:
    """What a model file holds.

    Attributes:
        kind: `None` where it cannot be told, or is nothing that we have a use for.
        family: "SD 1.x", "SDXL" and so on; empty where it cannot be told.
        recipe: key in `SINGLE_FILES` or `TRANSFORMERS` of a checkpoint that can be loaded, else empty.
        problem: why it cannot be the diffusion model of a run, with what to do; empty if it can.
    """

    kind: Kind | None
    family: str = ""
    recipe: str = ""
    problem: str = ""


def contents_of(path: Path) -> Contents:
    """What the file holds; a file that cannot be read holds nothing, and its `problem` says why.

    The answer is remembered as long as the file's size and time stay the same.
    """
    try:
        status = path.stat()
        return _contents(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        return Contents(None, problem=f"cannot be read ({error.strerror})")


@lru_cache(maxsize=4096)
def _contents(path: Path, size: int, time: int) -> Contents:
    try:
        return tell(header_of(path))
    except UnsupportedModel as error:
        return Contents(None, problem=str(error).removeprefix(f"{path}: "))


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


def tell(header: Header) -> Contents:
    """What a file with this header holds."""
    names = header.shapes
    for recipe, blocks in _BLOCKS.items():
        if any(blocks.match(name) for name in names) and not any(name.startswith("controlnet_") for name in names):
            return _transformer(recipe, {name.removeprefix(NETWORK): shape for name, shape in names.items()})
    if any(name.startswith(NETWORK) for name in names):
        return _checkpoint(header)
    for pattern, contents in _OTHERS:
        if any(pattern.search(name) for name in names):
            return contents
    return Contents(None, problem="holds a model of an unknown kind; name a Stable Diffusion checkpoint")


def _checkpoint(header: Header) -> Contents:
    """A whole checkpoint with the names of the original code, or one of a family that we cannot load."""
    names = header.shapes
    for part, what in _FOREIGN.items():
        if any(name.startswith(NETWORK) and part in name for name in names):
            return _no(f"holds {what}", what)
    if "edm_mean" in names:
        return _no("is Playground 2.5, which was trained with another noise schedule", "Playground 2.5")
    recipe = _recipe(names)
    if recipe is None:
        return _no("holds a diffusion model of an unknown family")
    family = SINGLE_FILES[recipe]
    if header.form == "GGUF":
        problem = f"holds {family} in GGUF, of which only {' and '.join(TRANSFORMERS.values())} are read; use it as safetensors"
        return Contents("diffusion", family, problem=problem)
    first = names.get(f"{NETWORK}input_blocks.0.0.weight", ())
    channels = first[1] if len(first) == 4 else 4
    if channels != 4:
        what = _BY_CHANNELS.get(channels, f"a model with {channels} input channels")
        return _no(f"is {what} ({family}), which needs more than a prompt", family)
    if recipe == "sd2" and any(name.startswith(f"{NETWORK}label_emb.") for name in names):
        return _no("is an unCLIP model (SD 2.x), which needs a picture as its prompt", family)
    return Contents("diffusion", family, recipe)


def _transformer(recipe: str, names: Mapping[str, tuple[int, ...]]) -> Contents:
    """Stable Diffusion 3, or Flux, whose kin have blocks of the same name; names without their prefix."""
    family = TRANSFORMERS[recipe]
    if recipe == "flux":
        for part, what in _KIN_OF_FLUX.items():
            if any(name.startswith(part) for name in names):
                return _no(f"holds {what}", what)
        inputs = names.get("img_in.weight", ())[1:]
        what = _FLUX_BY_INPUTS.get(inputs[0] if inputs else 64)
        if what is not None:
            return _no(f"is {what}, which needs more than a prompt", family)
    return Contents("diffusion", family, recipe)


def _no(problem: str, family: str = "") -> Contents:
    known = ", ".join([*SINGLE_FILES.values(), *TRANSFORMERS.values()])
    return Contents("diffusion", family, problem=f"{problem}; use a plain text-to-image checkpoint of {known}")


def _recipe(names: Mapping[str, tuple[int, ...]]) -> str | None:
    """By the place of the text encoder, or else by the width of the text that the UNet wants."""
    for prefix, recipe in _BY_TEXT.items():
        if any(name.startswith(prefix) for name in names):
            return recipe
    attention = (
        shape for name, shape in names.items() if name.startswith(NETWORK) and name.endswith("attn2.to_k.weight")
    )
    return next((_BY_WIDTH[shape[1]] for shape in attention if len(shape) == 2 and shape[1] in _BY_WIDTH), None)


_BY_TEXT = {
    "conditioner.embedders.1.": "sdxl",
    "conditioner.embedders.0.model.": "refiner",
    "conditioner.embedders.0.transformer.": "sdxl",
    "cond_stage_model.model.": "sd2",
    "cond_stage_model.transformer.": "sd1",
}
_BY_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "refiner"}
_BY_CHANNELS = {
    9: "an inpainting model",
    8: "an instruct-pix2pix model",
    5: "a depth-to-image model",
    7: "the x4 upscaler of Stable Diffusion",
}
_FOREIGN = {
    "time_stack": "a video model (Stable Video Diffusion)",
    "motion_modules": "a video model (AnimateDiff)",
    "patchify_proj": "a video model (LTX)",
    "head.modulation": "a video model (Wan)",
    "cap_embedder.": "Lumina or Z-Image",
    "txtfusion.": "Krea 2",
    "txt_in.": "Qwen-Image",
}
_BLOCKS = {
    "sd3": re.compile(r"(model\.diffusion_model\.)?joint_blocks\.\d+\.x_block\.attn\.qkv\.weight$"),
    "flux": re.compile(r"(model\.diffusion_model\.)?double_blocks\.\d+\.img_attn[._]qkv\.weight$"),
}
_KIN_OF_FLUX = {
    "distilled_guidance_layer.": "Chroma",
    "double_stream_modulation": "Flux.2",
    "txt_in.individual_token_refiner.": "a video model (HunyuanVideo)",
}
_FLUX_BY_INPUTS = {384: "Flux Fill, an inpainting model", 128: "Flux Canny or Flux Depth"}


def _other(kind: Kind | None, what: str, remedy: str, family: str = "") -> Contents:
    return Contents(kind, family, problem=f"holds {what}; {remedy}")


_MODEL = "use a whole checkpoint as the model"

# In this order: a LoRA of a UNet also has names of a UNet in it.
_OTHERS: list[tuple[re.Pattern[str], Contents]] = [
    (re.compile(pattern), contents)
    for pattern, contents in (
        (
            r"lora_(A|B|down|up)\b|lora\.(down|up)|^lora_(unet|te)|hada_w1|lokr_w1|\.oft_",
            _other("lora", "a LoRA", f"give it as --lora PATH, and {_MODEL}"),
        ),
        (
            r"^(emb_params|string_to_param|clip_[lg])$",
            _other("embedding", "a textual inversion embedding", f"give it as --embedding PATH, and {_MODEL}"),
        ),
        (
            r"^control_model\.|controlnet_cond_embedding|^input_hint_block|^controlnet_",
            _other("control", "a ControlNet", f"give it as --control, and {_MODEL}"),
        ),
        (
            r"temporal_transformer|motion_modules",
            _other(None, "a motion module of a video model", f"{_MODEL}"),
        ),
        (r"^(image_proj|ip_adapter)\b", _other(None, "an IP-Adapter", f"it has no use here; {_MODEL}")),
        (r"^adapter\.|^body\.0\.block1", _other(None, "a T2I-Adapter", f"use a ControlNet instead, and {_MODEL}")),
        (
            r"^(params_ema\.)?(stylegan_decoder\.|quantize\.embedding|position_emb$)",
            _other("face", "a face model", f"give it as --face-model, and {_MODEL}"),
        ),
        (
            r"^taesd_(en|de)coder\.|^(first_stage_model\.)?(encoder|decoder)\.(conv_in|conv_out|mid|layers\.\d+\.conv)\b",
            _other("vae", "an autoencoder (VAE) alone", f"give it as --vae PATH, and {_MODEL}"),
        ),
        (
            r"^(input_blocks|down_blocks)\.\d+\.|^time_embed(ding)?\.",
            _other("diffusion", "a UNet alone, without text encoder and VAE", f"{_MODEL}"),
        ),
        (
            r"^(text_model\.|transformer\.resblocks)|^encoder\.block\.\d+\.layer\.0\.SelfAttention",
            _other(None, "a text encoder alone", f"{_MODEL}"),
        ),
        (
            r"RRDB|\brdb\d|^conv_first|^body\.\d+\.|^model\.\d+\.|^layers\.\d+\.residual_group|^params(_ema)?(\.|$)|^upsampler?\b|^upconv",
            _other("gan", "a super-resolution network", f"give it as --gan, and {_MODEL}"),
        ),
    )
]
