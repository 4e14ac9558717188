"""What a model file holds, told from the names of its tensors: which kind and family, or what keeps it from being used.

Of a folder in diffusers format it is told from what its JSON files say. Nothing is loaded, and torch is not needed.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from . import folders
from .errors import UnsupportedModel
from .headers import Header, header_of

Kind = Literal["gan", "diffusion", "control", "lora", "embedding", "vae", "face", "detector"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OneStep = Literal["pisa-sr", "osediff"]
"""Models of super-resolution in one evaluation that are published as changes to Stable Diffusion 2.1-base."""
FOLDER_MARK = "model_index.json"
"""The file that makes a folder a model in diffusers format."""


NETWORK = "model.diffusion_model."
"""What stands before the names of the network in a checkpoint with the names of the original code."""
SINGLE_FILES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "refiner": "SDXL refiner"}
"""Families of Stable Diffusion with a UNet whose single files we load: folder in `weights/families`, and what people call it."""
TRANSFORMERS = {"sd3": "SD 3", "flux": "Flux"}
"""The same of families with a transformer, whose files mostly hold that alone; the rest is another model's (`--base`)."""


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


def tell(header: Header) -> Contents:
    """What a file with this header holds."""
    names = header.shapes
    for recipe, blocks in _BLOCKS.items():
        if any(blocks.match(name) for name in names) and not any(name.startswith("controlnet_") for name in names):
            return _transformer(recipe, {name.removeprefix(NETWORK): shape for name, shape in names.items()})
    if any(name.startswith(NETWORK) for name in names):
        return _checkpoint(header)
    for pattern, contents in _OTHERS.items():
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


def family_of(folder: Path) -> str:
    """The family of the diffusion model or ControlNet in a folder in diffusers format; empty where it cannot be told."""
    pipeline = pipeline_of(folder)
    if known := next((family for start, family in _BY_PIPELINE.items() if pipeline.startswith(start)), ""):
        return known
    configs = (folders.read_object(file) for file in (folder / "unet" / "config.json", folder / "config.json"))
    width = next((config["cross_attention_dim"] for config in configs if "cross_attention_dim" in config), None)
    return SINGLE_FILES[_BY_WIDTH[width]] if isinstance(width, int) and width in _BY_WIDTH else ""


def pipeline_of(folder: Path) -> str:
    """The pipeline that a model folder in diffusers format names; empty if it is none."""
    return str(folders.read_object(folder / FOLDER_MARK).get("_class_name", ""))


def class_of(folder: Path) -> str:
    """The class of the single network that a folder in diffusers format holds; empty if it holds none."""
    return str(folders.read_object(folder / "config.json").get("_class_name", ""))


def one_step_kind(path: Path) -> OneStep | None:
    """Which one-step model a file holds, `None` for any other; told by the names in it, and nothing of it is executed."""
    try:
        if path.suffix.lower() == ".safetensors":
            with path.open("rb") as file:
                names = file.read(min(int.from_bytes(file.read(8), "little"), 1 << 24))
        elif path.suffix.lower() == ".pkl":
            with zipfile.ZipFile(path) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(member) as content:  # a zip can hold a thousand times its size
                    names = content.read(1 << 26)
        else:
            return None
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error):
        return None
    if b"lora_A.default_encoder_pix" in names and b"lora_A.default_encoder_sem" in names:
        return "pisa-sr"
    return "osediff" if b"lora_A.default_others" in names and b"conv_in.base_layer" in names else None


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
_BY_PIPELINE = {"StableDiffusion3": "SD 3", "Flux": "Flux"}
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


def _other(kind: Kind | None, what: str, instead: str = "") -> Contents:
    return Contents(kind, problem=f"holds {what}; {instead}use a whole checkpoint as the model")


# In this order: a LoRA of a UNet also has names of a UNet in it.
_OTHERS = {
    re.compile(pattern): contents
    for pattern, contents in {
        r"lora_(A|B|down|up)\b|lora\.(down|up)|^lora_(unet|te)|hada_w1|lokr_w1|\.oft_": _other(
            "lora", "a LoRA", "give it as --lora PATH, and "
        ),
        r"^(emb_params|string_to_param|clip_[lg])$": _other(
            "embedding", "a textual inversion embedding", "give it as --embedding PATH, and "
        ),
        r"^control_model\.|controlnet_cond_embedding|^input_hint_block|^controlnet_": _other(
            "control", "a ControlNet", "give it as --control, and "
        ),
        r"temporal_transformer|motion_modules": _other(None, "a motion module of a video model"),
        r"^(image_proj|ip_adapter)\b": _other(None, "an IP-Adapter", "it has no use here; "),
        r"^adapter\.|^body\.0\.block1": _other(None, "a T2I-Adapter", "use a ControlNet instead, and "),
        r"^(params_ema\.)?(stylegan_decoder\.|quantize\.embedding|position_emb$)": _other(
            "face", "a face model", "give it as --face-model, and "
        ),
        r"^taesd_(en|de)coder\.|^(first_stage_model\.)?(encoder|decoder)\.(conv_in|conv_out|mid|layers\.\d+\.conv)\b": _other(
            "vae", "an autoencoder (VAE) alone", "give it as --vae PATH, and "
        ),
        r"^(input_blocks|down_blocks)\.\d+\.|^time_embed(ding)?\.": _other(
            "diffusion", "a UNet alone, without text encoder and VAE"
        ),
        r"^(text_model\.|transformer\.resblocks)|^encoder\.block\.\d+\.layer\.0\.SelfAttention": _other(
            None, "a text encoder alone"
        ),
        r"RRDB|\brdb\d|^conv_first|^body\.\d+\.|^model\.\d+\.|^layers\.\d+\.residual_group|^params(_ema)?(\.|$)|^upsampler?\b|^upconv": _other(
            "gan", "a super-resolution network", "give it as --gan, and "
        ),
    }.items()
}
