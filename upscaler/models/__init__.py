"""The models behind the two protocols. torch and its friends live below here and are imported when a model is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import families, weights
from ..errors import WeightsNotFound
from .base import Enlarger, Redrawer, tile_sides
from .diffusion.footprint import likely_precision, memory_at
from .diffusion.habits import family_at, habits_at, native_side
from .sharing import GATE, model_errors, shared

if TYPE_CHECKING:
    from .base import FaceDetector, FaceRestorer, Refiner, Upscaler


def load_upscaler(
    name: str = "realesrgan-x4plus", *, device: str = "auto", precision: str = "auto", backend: str = "auto"
) -> Upscaler:
    """The super-resolution network of that name, or in that .safetensors or .pth file; one object for all who hold it.

    Args:
        name: as `upscaler models list` shows it, or a path. Safetensors are preferred; pickles are loaded weights-only.
        device, precision, backend: as in `settings.Hardware`.

    Raises:
        WeightsNotFound, UnsupportedModel, SettingsError, OutOfMemory: in one line, with what to do.
    """
    with GATE.loading():  # threads that import a library at the same time can find half of it
        from .gan.load import load_upscaler as load

    return shared(load, "gan", str(name), device=device, precision=precision, backend=backend)


def load_refiner(
    name: str = "pocket",
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
) -> Refiner:
    """The diffusion model of that name, file, folder or hub id, and what is laid over it.

    It is one object for all who hold it.

    See `upscaler.models.diffusion.checkpoint.load_refiner`.
    """
    with GATE.loading():  # as above
        from .diffusion.checkpoint import load_refiner as load

    return shared(
        load,
        "diffusion",
        str(name),
        control=control,
        vae=vae,
        lora=lora,
        embedding=embedding,
        clip_skip=clip_skip,
        base=base,
        allow_pickle=allow_pickle,
        device=device,
        precision=precision,
        low_vram=low_vram,
        storage=storage,
        compile=compile,
        memory=memory,
    )


def load_restorer(name: str = "gfpgan-1.4", *, device: str = "auto") -> FaceRestorer:
    """The face model of that name or file; one object for all who hold it. See `upscaler.models.faces.restore`."""
    with GATE.loading():  # as above
        from .faces.restore import load_restorer as load

    return shared(load, "face", str(name), device=device)


def load_detector() -> FaceDetector:
    """What finds faces. See `upscaler.models.faces.detect`."""
    from .faces.detect import load_detector as load

    return load()


def describe_upscaler(name: str) -> Enlarger:
    """What a plan needs to know of the super-resolution network of that name or file, which is not loaded to run.

    Raises: as `load_upscaler`.
    """
    model = weights.get(name, "gan")
    if model.scale is not None and model.halo is not None:
        return Enlarger(model.scale, model.halo, model.memory)
    with GATE.loading():  # as above
        from .gan.load import describe
    with model_errors(name):
        return describe(model)


def describe_refiner(
    name: str,
    *,
    lora: str = "",
    control: str = "none",
    device: str = "auto",
    precision: str = "auto",
    storage: str = "auto",
) -> Redrawer:
    """What a plan needs to know of the diffusion model of that name, file or folder; of one on the hub, the usual values.

    Args: as of `load_refiner`.
    """
    try:
        path = weights.find(name, "diffusion")
        with model_errors(name):
            known = _redrawer(path, lora)
            if known.memory is not None:
                return known
            numbers = likely_precision(device, precision)
            memory = memory_at(path, precision=numbers, float8=storage == "float8", control=control)
            return replace(known, memory=memory)
    except WeightsNotFound:
        if not weights.HUB_ID.fullmatch(name):
            raise
    return Redrawer(tile_sides=tile_sides(None), habits=habits_at(Path(name), lora))


def _redrawer(path: Path, lora: str) -> Redrawer:
    family = family_at(path)
    if family is not None:
        return Redrawer(family.multiple, tile_sides(family.native), family.habits)
    native = 512 if families.one_step_kind(path) else native_side(path)
    memory = next((model.memory for model in weights.bundled() if model.path == path), None)
    return Redrawer(tile_sides=tile_sides(native), habits=habits_at(path, lora), memory=memory)
