"""Loads a diffusion model: a folder in diffusers format, a single file as WebUI and ComfyUI keep them, or from the hub."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ... import families
from ...errors import SettingsError, UnsupportedModel
from ...text import one_line
from ..backends import pick_dtype
from ..device import is_out_of_memory, loading, pick_device, release_memory
from ..find import find_or_download, read_json
from .components import Components
from .control import load_controls
from .habits import Family, family_at, habits_at
from .parts import Extras, load_parts, pocket_parts, ready
from .refiner import DiffusionRefiner
from .validate import check_parts


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
        with _errors_of(name):
            if pocket:
                parts = pocket_parts(path, where, dtype)
            else:
                parts = load_parts(path, where, dtype, extras=extras, allow_pickle=allow_pickle)
        if control != "none":
            network = load_controls(control, parts.unet, dtype=dtype)
            parts = replace(parts, control=ready(network.to(where), where))
    check_parts(name, parts)
    if not pocket:
        release_memory()  # what was read is another third of what stays
    parts = replace(parts, habits=habits_at(path, extras.lora))
    return DiffusionRefiner(parts, device=where, dtype=dtype, name=path.stem if path.is_file() else path.name)


def _load_family(
    family: Family, path: Path, device: torch.device, dtype: torch.dtype, *, base: str, allow_pickle: bool
) -> DiffusionRefiner:
    from .flow_file import FlowFile  # brings transformers, as below
    from .flow_parts import FlowParts

    module: Any = import_module(f".{family.module}", __package__)
    with loading(device, path.name), _errors_of(path):
        if path.is_file():
            parts = FlowFile(path, base, family, device, dtype, allow_pickle=allow_pickle)
        else:
            parts = FlowParts(path, device, dtype)
        refiner = module.load(parts)
    release_memory()
    return refiner


def _load_base(
    name: str, *, device: torch.device, dtype: torch.dtype, extras: Extras, allow_pickle: bool
) -> Components:
    """The parts of the Stable Diffusion model of that name, file, folder or hub id. Raises: as `load_refiner`."""
    path = find_or_download(name, "diffusion", _download, what="a file, or a folder in diffusers format")
    with _errors_of(name):
        return load_parts(path, device, dtype, extras=extras, allow_pickle=allow_pickle)


@contextmanager
def _errors_of(model: str | Path) -> Generator[None, None, None]:
    """Load a model in the block; what libraries raise about a damaged one becomes `UnsupportedModel`."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error) or isinstance(error, SettingsError):
            raise
        raise UnsupportedModel(f"{model}: cannot be loaded as a diffusion model: {one_line(error)}") from error


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
