"""Loads a diffusion model: a folder in diffusers format, a single file as WebUI and ComfyUI keep them, or from the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from ... import families
from ...errors import SettingsError, UnsupportedModel
from ...text import one_line
from ..backends import pick_dtype
from ..device import is_out_of_memory, loading, pick_device, release_memory
from ..find import find_or_download, read_json
from .adapters import adapt
from .codec import Codec
from .components import Components
from .control import load_controls
from .folder import FolderParts
from .habits import Family, family_at, habits_at
from .prediction import measured_prediction
from .refiner import DiffusionRefiner
from .single import FileParts
from .text import TextEncoder
from .validate import check_parts


class Parts(Protocol):
    """A checkpoint in some format, whose parts are loaded one by one, on the CPU."""

    index: dict[str, Any]
    """As in `model_index.json` of a folder in diffusers format."""
    about: str
    """Family and format in a few words; empty where the user gave a folder, and knows."""
    vae_config: Path
    """Folder with the config of its autoencoder."""

    @property
    def scheduler(self) -> dict[str, Any]: ...
    def unet(self, dtype: torch.dtype) -> Any: ...
    def vae(self, dtype: torch.dtype) -> Any: ...
    def text(self, suffix: str, dtype: torch.dtype) -> tuple[Any, Any]: ...


def load_refiner(
    name: str,
    *,
    control: str = "none",
    vae: str = "auto",
    lora: str = "",
    embedding: str = "",
    clip_skip: int = 1,
    base: str = "auto",
    allow_pickle: bool = False,
    device: str = "auto",
    precision: str = "auto",
    low_vram: bool = False,
    storage: str = "auto",
    compile: bool = False,
    memory: int | None = None,
) -> DiffusionRefiner:
    """The diffusion model of that name, in that file or folder, or of that hub id.

    Args:
        name: a bundled or installed model; a folder in diffusers format (SD 1.x to 3.5, SDXL, Flux, pocket); a single file of
            SD 1.x to 3.5, SDXL, its refiner or Flux; or `author/model` on the hub, which is downloaded once into the hub's cache
            (safetensors only); or the file of PiSA-SR or OSEDiff.
        control: a ControlNet in the same ways, or "none"; one without safetensors is read weights-only.
        vae: a file or folder with another autoencoder, or "auto" for the model's own.
        lora, embedding, clip_skip: as in `settings.Diffusion`.
        base: of PiSA-SR and OSEDiff, and of single files of Flux and SD 3, as in `settings.Diffusion`.
        allow_pickle: read a .ckpt too, weights-only.
        device, precision, low_vram, storage, compile: as in `settings.Hardware`.
        memory: bytes that this process may take on the device.

    Raises:
        WeightsNotFound: nothing of that name, and the hub has it not or is out of reach.
        UnsupportedModel: there is another kind of model.
        SettingsError: there is no such device, the ControlNet was not made for this model, or this model takes no such
            extra.
        OutOfMemory: it does not fit.
    """
    target = pick_device(device)
    dtype = pick_dtype(target, precision)
    moves = low_vram and target.type != "cpu"
    refiner = _load(
        name,
        torch.device("cpu") if moves else target,
        dtype,
        Extras(vae=vae, lora=lora, embedding=embedding, clip_skip=clip_skip),
        control=control,
        base=base,
        allow_pickle=allow_pickle,
    )
    if storage == "float8":
        refiner.keep_in_float8()
    refiner = refiner.within(memory, low_vram=target if moves else None)
    if compile:
        refiner.compile()
    return refiner


def _load(
    name: str, where: torch.device, dtype: torch.dtype, extras: Extras, *, control: str, base: str, allow_pickle: bool
) -> DiffusionRefiner:
    """The model on that device. Raises: as `load_refiner`."""
    path = find_or_download(name, "diffusion", _download, what="a file, or a folder in diffusers format")
    if (path.is_file() and path.suffix.lower() == ".pkl") or families.one_step_kind(path):
        from . import one_step_load

        _refuse(path.name, control=control)
        with loading(where, name):
            load_base = partial(_load_base, device=where, dtype=dtype, extras=extras, allow_pickle=allow_pickle)
            return one_step_load.load(path, base=base, load_base=load_base, device=where, dtype=dtype)
    family, pocket = family_at(path), _is_pocket(path)
    if family is not None or pocket:
        _refuse(path.name, control=control, **vars(extras))
    if family is not None:
        return _load_family(family, path, where, dtype, base=base, allow_pickle=allow_pickle)
    with loading(where, name):
        try:
            if pocket:
                parts = _pocket(path, where, dtype)
            else:
                parts = load_parts(path, where, dtype, extras=extras, allow_pickle=allow_pickle)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if is_out_of_memory(error) or isinstance(error, SettingsError):
                raise
            raise UnsupportedModel(f"{name}: cannot be loaded as a diffusion model: {one_line(error)}") from error
        if control != "none":
            network = load_controls(control, parts.unet, dtype=dtype)
            parts = replace(parts, control=ready(network.to(where), where))
    check_parts(name, parts)
    if not pocket:
        release_memory()  # what was read is another third of what stays
    parts = replace(parts, habits=habits_at(path, extras.lora))
    return DiffusionRefiner(parts, device=where, dtype=dtype, name=path.stem if path.is_file() else path.name)


@dataclass(frozen=True)
class Extras:
    """What is laid over a checkpoint, as in `settings.Diffusion`."""

    vae: str = "auto"
    lora: str = ""
    embedding: str = ""
    clip_skip: int = 1


def _load_family(
    family: Family, path: Path, device: torch.device, dtype: torch.dtype, *, base: str, allow_pickle: bool
) -> DiffusionRefiner:
    from .flow_file import FlowFile  # brings transformers, as below
    from .flow_parts import FlowParts

    module: Any = import_module(f".{family.module}", __package__)
    with loading(device, path.name):
        try:
            if path.is_file():
                parts = FlowFile(path, base, family, device, dtype, allow_pickle=allow_pickle)
            else:
                parts = FlowParts(path, device, dtype)
            refiner = module.load(parts)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if is_out_of_memory(error) or isinstance(error, SettingsError):
                raise
            raise UnsupportedModel(f"{path}: cannot be loaded as a diffusion model: {one_line(error)}") from error
    release_memory()
    return refiner


def _load_base(
    name: str, *, device: torch.device, dtype: torch.dtype, extras: Extras, allow_pickle: bool
) -> Components:
    """The parts of the Stable Diffusion model of that name, file, folder or hub id. Raises: as `load_refiner`."""
    path = find_or_download(name, "diffusion", _download, what="a file, or a folder in diffusers format")
    try:
        return load_parts(path, device, dtype, extras=extras, allow_pickle=allow_pickle)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error) or isinstance(error, SettingsError):
            raise
        raise UnsupportedModel(f"{name}: cannot be loaded as a diffusion model: {one_line(error)}") from error


def load_parts(
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    extras: Extras = Extras(),
    allow_pickle: bool = False,
) -> Components:
    """The parts of the Stable Diffusion model in that folder or file, on the device, ready to run.

    The caller holds `device.loading`.

    Raises:
        UnsupportedModel: it holds another kind of model, or a part is missing.
        OSError, ValueError, KeyError, TypeError, RuntimeError: what libraries raise about a damaged one.
    """
    from .autoencoder import load_vae, ready_codec  # brings transformers, which the bundled model does without

    parts = open_parts(path, allow_pickle=allow_pickle)
    autoencoder: Any
    if extras.vae == "auto":
        autoencoder = parts.vae(dtype)
    else:
        autoencoder = load_vae(extras.vae, parts.vae_config, dtype, allow_pickle=allow_pickle)
    codec = ready_codec(autoencoder, device, dtype)
    unet: Any = parts.unet(dtype)
    _check_inputs(path, unet, codec)
    unet = unet.to(device)
    encoders = [_text(parts, suffix, device, dtype) for suffix in ("", "_2") if _has(parts, suffix)]
    sdxl = "XL" in str(parts.index.get("_class_name", ""))
    adapt(unet, encoders, lora=extras.lora, embedding=extras.embedding, sdxl=sdxl, allow_pickle=allow_pickle)
    unet = ready(unet, device)
    zeros = bool(parts.index.get("force_zeros_for_empty_prompt", False))
    text = TextEncoder(encoders, zeros_for_empty=zeros, clip_skip=extras.clip_skip)
    scheduler = parts.scheduler
    about = parts.about
    if getattr(parts, "measure", False):
        scheduler["prediction_type"] = measured_prediction(unet)
        about = f"{about}, predicts {'v' if scheduler['prediction_type'] == 'v_prediction' else 'the noise'} (measured)"
    return Components(
        unet,
        codec,
        scheduler,
        text,
        conditioned=False,
        aesthetic=bool(parts.index.get("requires_aesthetics_score", False)),
        about=about,
    )


def open_parts(path: Path, *, allow_pickle: bool = False) -> Parts:
    """The checkpoint in that file or folder, nothing of it loaded.

    Raises:
        UnsupportedModel: it is neither a diffusers folder nor a single file that we know.
    """
    if path.is_file():
        return FileParts(path, allow_pickle=allow_pickle)
    if (path / families.FOLDER_MARK).is_file():
        return FolderParts(path, read_json(path / families.FOLDER_MARK))
    raise UnsupportedModel(
        f"{path}: is not a diffusers folder (no {families.FOLDER_MARK} in it); give such a folder, or a .safetensors file"
    )


def ready(network: Any, device: torch.device) -> Any:
    """The network as it runs fastest, without gradients."""
    if device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


_EXTRAS: dict[str, tuple[str, str | int]] = {
    "control": ("ControlNet", "none"),
    "vae": ("other autoencoder", "auto"),
    "lora": ("LoRA", ""),
    "embedding": ("embedding", ""),
    "clip_skip": ("CLIP skip", 1),
}
"""What each is called, and the value that does nothing."""


def _refuse(name: str, **given: str | int) -> None:
    """Raise `SettingsError` for the first extra that is asked for."""
    for setting, value in given.items():
        what, neutral = _EXTRAS[setting]
        if value != neutral:
            raise SettingsError(
                f"diffusion.{setting}: {name} takes no {what}; name a Stable Diffusion 1.x, 2.x or SDXL model as "
                f"diffusion.model, or {neutral or 'nothing'} here"
            )


def _is_pocket(path: Path) -> bool:
    mark = path / families.FOLDER_MARK
    return mark.is_file() and "PocketUNet" in read_json(mark).get("unet", ())


def _download(hub_id: str) -> Path:
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(hub_id, use_safetensors=True, trust_remote_code=False))


def _pocket(folder: Path, device: torch.device, dtype: torch.dtype) -> Components:
    from .pocket import HaarCodec, PocketUNet

    unet = PocketUNet.from_pretrained(folder / "unet", dtype)
    return Components(
        unet=ready(unet.to(device), device),
        codec=HaarCodec.from_pretrained(folder / "vae").to(device=device),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        text=None,
        conditioned=True,
        full_strength=float(unet.config["full_strength"]),
    )


def _check_inputs(path: Path, unet: Any, codec: Codec) -> None:
    channels = int(unet.config["in_channels"])
    if (
        channels != codec.latent_channels
        or unet.config.get("time_cond_proj_dim")
        or unet.config.get("num_class_embeds")
    ):
        raise UnsupportedModel(
            f"{path}: its UNet has {channels} input channels for {codec.latent_channels} of its latents, or wants other "
            "inputs than a prompt; use a plain text-to-image checkpoint"
        )


def _has(parts: Parts, suffix: str) -> bool:
    return bool(parts.index.get(f"text_encoder{suffix}", (None,))[0])


def _text(parts: Parts, suffix: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.disable_progress_bar()  # a second of loading needs no bar between ours
    tokenizer, model = parts.text(suffix, dtype)
    return tokenizer, model.to(device).eval().requires_grad_(False)
