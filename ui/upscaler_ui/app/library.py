"""The page of models: what is here, what can be fetched, and files that its user adds."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from upscaler import families, weights
from upscaler.errors import SettingsError, UnsupportedModel, UpscalerError, WeightsError
from upscaler.models import describe_upscaler, manifest
from upscaler.models.convert import convert
from upscaler.options.settings import Settings
from upscaler.text import amount, duration, one_line

from .failures import cause_and_remedy
from .fetches import Fetch, Fetches, Stage
from .results import file_name

_AS_THEY_ARE = (".safetensors", ".gguf")
SUFFIXES = (*_AS_THEY_ARE, ".pth", ".pt", ".ckpt", ".pkl")
"""Of files that can be added; all but the first are turned into it, and no code in them is run."""

_KINDS = {
    "gan": "super-resolution",
    "diffusion": "diffusion",
    "control": "ControlNet",
    "lora": "LoRA",
    "embedding": "embedding",
    "vae": "VAE",
    "face": "face model",
    "detector": "face detector",
}


def folder() -> Path:
    """Where the user's models belong; it is made."""
    found = weights.user_folders()[-1]
    found.mkdir(parents=True, exist_ok=True)
    return found


def listed(fetches: Fetches, *, local: bool, owned: bool) -> dict[str, Any]:
    """What the page of models shows.

    Args:
        local: browser and app are on one machine.
        owned: its user may add models.
    """
    here = weights.models()
    names = {model.path.resolve() for model in here}
    known = [entry for entry in manifest.entries() if entry.target(weights.user_folders()[-1]).resolve() not in names]
    return {
        "folder": str(weights.user_folders()[-1]) if owned else "",
        "local": local and owned,
        "here": [_model(model) for model in here],
        "remote": [_remote(entry, fetches.of(entry.name)) for entry in known] if owned else [],
    }


def _model(model: weights.Model) -> dict[str, str]:
    return {
        "name": model.name,
        "kind": _KINDS[model.kind],
        "family": model.family,
        "size": amount(model.bytes),
        "place": model.licence if model.bundled else model.place,
        "purpose": re.sub(r" \(--\w+\)$", "", model.purpose),
    }


def _remote(entry: manifest.Entry, work: Fetch | None) -> dict[str, Any]:
    bytes = sum(file.bytes or 0 for file in entry.files) if all(file.bytes for file in entry.files) else 0
    bytes = (work.total if work else 0) or bytes
    size = [amount(bytes)] if bytes else []
    return {
        "name": entry.name,
        "purpose": entry.purpose,
        "about": " · ".join(filter(None, [_KINDS[entry.kind], entry.family, *size, entry.licence])),
        "licence": entry.licence,
        "page": f"https://huggingface.co/{entry.repository}",
        "free": entry.free,
        "stage": work.stage.value if work else "",
        "fraction": work.done / work.total if work and work.total else 0.0,
        "text": _progress(work) if work else "",
    }


def _progress(work: Fetch) -> str:
    if work.stage is Stage.FAILED and work.error is not None:
        return " ".join(cause_and_remedy(work.error))
    if work.stage is Stage.STOPPED:
        return f"Stopped at {amount(work.done)}; continues from there." if work.done else "Stopped."
    if work.stage is Stage.WAITING:
        return "Waiting for the one before it."
    if not work.total:
        return "Asking the hub…"
    if work.done == work.total:
        return "Checking the download…"
    left = "" if work.left is None else f", about {duration(work.left)} left"
    return f"{amount(work.done)} of {amount(work.total)}{left}"


def add(path: Path) -> str:
    """Move a model file into the user's folder, as safetensors unless it is GGUF; returns its name there.

    Raises:
        SettingsError: there is one of that name.
        WeightsError: it is not a model that can be used, or it cannot be written.
    """
    name = file_name(path.stem)
    suffix = path.suffix.lower()
    target = weights.user_folders()[-1] / f"{name}{suffix if suffix in _AS_THEY_ARE else '.safetensors'}"
    if target.exists():
        raise SettingsError(f"{target.name}: is already among the models; give the file another name")
    try:
        with tempfile.TemporaryDirectory(dir=folder(), prefix=".adding-") as draft:  # not listed, and on the same disk
            part = Path(draft) / target.name
            if suffix in _AS_THEY_ARE:
                shutil.move(path, part)
            else:
                convert(path, part)
            _check(part)
            os.replace(part, target)
    except OSError as error:
        raise WeightsError(f"{target.name}: cannot be written ({one_line(error)}); make room on the disk") from error
    return name


def _check(file: Path) -> None:
    """Raises: `UnsupportedModel`, where a run could not use it."""
    if weights.one_step_kind(file):
        return
    found = families.contents_of(file)
    if found.kind == "diffusion" and found.problem:
        raise UnsupportedModel(f"{file.name}: {found.problem}")
    if found.kind in (None, "gan"):  # spandrel knows forty architectures
        try:
            describe_upscaler(str(file))
        except UpscalerError as error:
            raise UnsupportedModel(f"{file.name}: {found.problem if found.kind is None else error}") from error


def takes_adapters(model: str) -> bool:
    """Whether LoRAs and ControlNets can be laid over the diffusion model of that name; one that is not found is taken to."""
    if model == "none":
        return False
    try:
        return weights.get(model, "diffusion").family in families.SINGLE_FILES.values()
    except UpscalerError:
        return True


def adapters_shown(settings: Settings) -> dict[str, bool]:
    """Which of the groups of settings in `form.ADAPTERS` have a meaning, by title."""
    chosen = settings.diffusion
    fits = takes_adapters(chosen.model)
    control = fits or chosen.control != "none" or _one_step(chosen.model) == "pisa-sr"  # which has such a scale too
    return {
        "ControlNet": control,
        "LoRA and VAE": fits or bool(chosen.lora or chosen.embedding or chosen.vae != "auto"),
    }


def _one_step(model: str) -> str | None:
    try:
        return weights.one_step_kind(weights.find(model, "diffusion"))
    except UpscalerError:
        return None


def about_loras(family: str) -> str:
    """Which LoRAs there are for a family, and how a list of them is written."""
    names = [model.name for model in weights.models("lora") if not family or model.family in ("", family)]
    there = f"Available: {', '.join(names)}." if names else "There are none yet; see More models."
    return f"Names with their weights, such as style:0.8; faces. {there}"


def family_of(model: str) -> str:
    """The family of the diffusion model of that name; empty where it is not known."""
    try:
        return weights.get(model, "diffusion").family
    except UpscalerError:
        return ""
