"""Folders of models that other programs keep: ComfyUI, the WebUIs, and the hub's cache. They are read and never written.

Their programs are looked for where people put them, in `COMFYUI_DIR` and `WEBUI_DIR`, and in the folders that
`upscaler models link DIR` has remembered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from . import folders
from .errors import SettingsError
from .families import Kind

COMFYUI, WEBUI, HUB = "ComfyUI", "WebUI", "Hugging Face cache"

_COMFYUI: dict[str, Kind] = {
    "checkpoints": "diffusion",
    "diffusers": "diffusion",
    "diffusion_models": "diffusion",
    "unet": "diffusion",
    "vae": "vae",
    "loras": "lora",
    "embeddings": "embedding",
    "controlnet": "control",
    "upscale_models": "gan",
    "facerestore_models": "face",
}
_WEBUI: dict[str, Kind] = {
    "models/Stable-diffusion": "diffusion",
    "models/VAE": "vae",
    "models/Lora": "lora",
    "models/LyCORIS": "lora",
    "embeddings": "embedding",
    "models/ControlNet": "control",
    "extensions/sd-webui-controlnet/models": "control",
    "models/ESRGAN": "gan",
    "models/RealESRGAN": "gan",
    "models/SwinIR": "gan",
    "models/DAT": "gan",
    "models/GFPGAN": "face",
}
_USUAL = (
    "ComfyUI",
    "Documents/ComfyUI",
    "stable-diffusion-webui",
    "stable-diffusion-webui-forge",
    "sd-webui-forge-classic",
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of another program with models of one kind."""

    path: Path
    kind: Kind
    place: str


def shelves() -> list[Shelf]:
    """All folders of other programs that are there, each once."""
    found: dict[Path, Shelf] = {}
    for program in programs():
        for shelf in (*_comfyui(program), *_webui(program)):
            if shelf.path.is_dir():
                found.setdefault(shelf.path.resolve(), shelf)
    return list(found.values())


def programs() -> list[Path]:
    """The folders where a ComfyUI or a WebUI may be: named, remembered, usual."""
    named = [os.environ.get(variable, "") for variable in ("COMFYUI_DIR", "WEBUI_DIR")]
    usual = [Path.home() / name for name in _USUAL]
    return [*(Path(entry).expanduser() for entry in (*named, *_remembered()) if entry), *usual]


def link(program: Path) -> list[Shelf]:
    """Remember the folder of a ComfyUI or a WebUI; gives its folders of models.

    Raises:
        SettingsError: it is neither.
        OSError: it cannot be remembered.
    """
    program = program.expanduser().absolute()
    found = [shelf for shelf in (*_comfyui(program), *_webui(program)) if shelf.path.is_dir()]
    if not found:
        raise SettingsError(
            f"{program}: is the folder of neither a ComfyUI (models/checkpoints) nor a WebUI (models/Stable-diffusion)"
        )
    if str(program) not in _remembered():
        folders.replace_text(_file(), json.dumps({"programs": [*_remembered(), str(program)]}, indent=1))
    return found


def _remembered() -> list[str]:
    entries = folders.read_object(_file()).get("programs", [])
    return (
        [entry for entry in cast("list[Any]", entries) if isinstance(entry, str)] if isinstance(entries, list) else []
    )


def _file() -> Path:
    return folders.data_folder() / "places.json"


def _comfyui(program: Path) -> Iterator[Shelf]:
    for name, kind in _COMFYUI.items():
        yield Shelf(program / "models" / name, kind, COMFYUI)
    yield from _listed_in(program / "extra_model_paths.yaml")


def _webui(program: Path) -> Iterator[Shelf]:
    for name, kind in _WEBUI.items():
        yield Shelf(program / name, kind, WEBUI)


def _listed_in(file: Path) -> Iterator[Shelf]:
    """The folders that an extra_model_paths.yaml names: groups with a `base_path`, and one or more folders for each kind."""
    if not file.is_file():
        return
    import yaml

    try:
        groups: Any = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    for group in cast("dict[Any, Any]", groups).values() if isinstance(groups, dict) else ():
        if not isinstance(group, dict):
            continue
        entries = cast("dict[Any, Any]", group)
        base = file.parent / Path(os.path.expandvars(str(entries.get("base_path", "")))).expanduser()
        for name, kind in _COMFYUI.items():
            for line in str(entries.get(name) or "").splitlines():
                if line.strip():
                    yield Shelf(base / line.strip(), kind, COMFYUI)


def hub_folders() -> Iterator[tuple[str, Path]]:
    """Repositories in the hub's cache by their id, each with the folder of its newest snapshot."""
    cache = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"), "hub"
    )
    for repository in sorted(Path(cache).expanduser().glob("models--*--*")):
        try:
            revision = (repository / "refs" / "main").read_text("utf-8").strip()
            snapshots = [repository / "snapshots" / revision, *(repository / "snapshots").iterdir()]
        except (OSError, ValueError):
            continue
        snapshot = next((snapshot for snapshot in snapshots if snapshot.is_dir()), None)
        if snapshot is not None:
            yield repository.name.removeprefix("models--").replace("--", "/", 1), snapshot
