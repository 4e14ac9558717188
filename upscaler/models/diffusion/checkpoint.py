"""Loads the parts of a diffusion model from a folder in diffusers format, or from the hub. Safetensors only."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from ... import weights
from ...errors import SettingsError, UnsupportedModel, WeightsError
from ...text import one_line
from ..backends import pick_dtype
from ..device import is_out_of_memory, loading, pick_device
from ..find import find_or_download
from .codec import VaeCodec
from .control import load_control
from .refiner import Components, DiffusionRefiner
from .text import TextEncoder


def load_refiner(
    name: str, *, control: str = "none", base: str = "auto", device: str = "auto", precision: str = "auto"
) -> DiffusionRefiner:
    """The diffusion model of that name, in that folder or file, or of that hub id.

    Args:
        name: a bundled or installed model, a folder in diffusers format (SD 1.x, 2.x, SDXL, pocket), or `author/model`
            on the hub, which is downloaded once into the hub's cache (safetensors only); or the file of PiSA-SR or
            OSEDiff.
        control: a ControlNet in the same three ways, or "none"; one without safetensors is read weights-only.
        base: of PiSA-SR and OSEDiff, as in `settings.Diffusion`.
        device, precision: as in `settings.Hardware`.

    Raises:
        WeightsNotFound: nothing of that name, and the hub has it not or is out of reach.
        UnsupportedModel: the folder holds another kind of model.
        SettingsError: there is no such device, or the ControlNet was not made for this model.
        OutOfMemory: it does not fit.
    """
    where = pick_device(device)
    dtype = pick_dtype(where, precision)
    path = find_or_download(name, "diffusion", _download, what="a folder in diffusers format")
    if (path.is_file() and path.suffix.lower() == ".pkl") or weights.one_step_kind(path):
        from . import one_step_load

        if control != "none":
            raise SettingsError(f"diffusion.control: {path.name} takes no ControlNet; set it to none")
        with loading(where, name):
            load_base = partial(_load_parts, device=where, dtype=dtype)
            return one_step_load.load(path, base=base, load_base=load_base, device=where, dtype=dtype)
    folder = _folder(path)
    index = _read_json(folder / weights.FOLDER_MARK)
    pocket = "PocketUNet" in index.get("unet", ())
    if pocket and control != "none":
        raise SettingsError(
            f"diffusion.control: {name} takes no ControlNet; name a Stable Diffusion model as diffusion.model, or none here"
        )
    with loading(where, name):
        try:
            parts = _pocket(folder, where, dtype) if pocket else _diffusers(folder, index, where, dtype)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise UnsupportedModel(f"{name}: cannot be loaded as a diffusion model: {one_line(error)}") from error
        if control != "none":
            network = load_control(control, parts.unet, dtype=dtype)
            parts = replace(parts, control=_ready(network.to(where), where))
    return DiffusionRefiner(parts, device=where, dtype=dtype, name=folder.name)


def _load_parts(name: str, *, device: torch.device, dtype: torch.dtype) -> Components:
    """The parts of the Stable Diffusion model of that name, folder or hub id. Raises: as `load_refiner`."""
    folder = _folder(find_or_download(name, "diffusion", _download, what="a folder in diffusers format"))
    index = _read_json(folder / weights.FOLDER_MARK)
    try:
        return _diffusers(folder, index, device, dtype)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UnsupportedModel(f"{name}: cannot be loaded as a diffusion model: {one_line(error)}") from error


def _folder(path: Path) -> Path:
    if (path / weights.FOLDER_MARK).is_file():
        return path
    raise UnsupportedModel(
        f"{path}: is not a diffusers folder (no {weights.FOLDER_MARK} in it); a single .safetensors checkpoint is turned "
        "into one by diffusers' from_single_file(...).save_pretrained(FOLDER)"
    )


def _download(hub_id: str) -> Path:
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(hub_id, use_safetensors=True, trust_remote_code=False))


def _pocket(folder: Path, device: torch.device, dtype: torch.dtype) -> Components:
    from .pocket import HaarCodec, PocketUNet

    unet: Any = PocketUNet.from_pretrained(
        folder / "unet", torch_dtype=dtype, use_safetensors=True, local_files_only=True
    )
    return Components(
        unet=_ready(unet.to(device), device),
        codec=HaarCodec.from_pretrained(folder / "vae").to(device=device),
        scheduler=_read_json(folder / "scheduler" / "scheduler_config.json"),
        text=None,
        conditioned=True,
        full_strength=float(unet.config["full_strength"]),
    )


def _diffusers(folder: Path, index: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Components:
    import transformers
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

    transformers.utils.logging.disable_progress_bar()  # a second of loading needs no bar between ours
    kind = str(index.get("_class_name", ""))
    if not kind.startswith(("StableDiffusion", "LatentConsistencyModel")):
        raise UnsupportedModel(
            f"{folder}: holds a {kind or 'model of no name'}; supported are SD 1.x, 2.x, SDXL and pocket"
        )
    vae_class = {"AutoencoderTiny": AutoencoderTiny}.get(index["vae"][1], AutoencoderKL)
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    unet: Any = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype, **options)
    vae: Any = vae_class.from_pretrained(
        folder, subfolder="vae", torch_dtype=_vae_dtype(folder, device, dtype), **options
    )
    codec = VaeCodec(vae.to(device).eval().requires_grad_(False))
    channels = int(unet.config["in_channels"])
    if (
        channels != codec.latent_channels
        or unet.config.get("time_cond_proj_dim")
        or unet.config.get("num_class_embeds")
    ):
        raise UnsupportedModel(
            f"{folder}: its UNet has {channels} input channels for {codec.latent_channels} of its latents, or wants other "
            "inputs than a prompt; use a plain text-to-image checkpoint"
        )
    text = TextEncoder(
        [
            _text(folder, index, suffix, device, dtype)
            for suffix in ("", "_2")
            if index.get(f"text_encoder{suffix}", (None,))[0]
        ],
        zeros_for_empty=bool(index.get("force_zeros_for_empty_prompt", False)),
    )
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    return Components(_ready(unet.to(device), device), codec, scheduler, text, conditioned=False)


def _text(
    folder: Path, index: dict[str, Any], suffix: str, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Any]:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    projected = index[f"text_encoder{suffix}"][1] == "CLIPTextModelWithProjection"
    tokenizer = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}", local_files_only=True)
    model: Any = (CLIPTextModelWithProjection if projected else CLIPTextModel).from_pretrained(
        folder / f"text_encoder{suffix}", dtype=dtype, use_safetensors=True, local_files_only=True
    )
    return tokenizer, model.to(device).eval().requires_grad_(False)


def _vae_dtype(folder: Path, device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Half precision on a GPU where the autoencoder bears it; bfloat16 has too few bits for the last step to pixels."""
    config = _read_json(folder / "vae" / "config.json")
    return dtype if dtype == torch.float16 and not config.get("force_upcast", False) else torch.float32


def _ready(unet: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        unet = unet.to(memory_format=torch.channels_last)
    return unet.eval().requires_grad_(False)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); the model folder is not complete") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: is not a model description; the model folder is damaged")
    return cast("dict[str, Any]", value)
