"""Which models lie in the user's folders, and in those of other programs: ComfyUI, the WebUIs, and the hub's cache.

Those of other programs are read and never written. The programs are looked for where people put them, in `COMFYUI_DIR` and
`WEBUI_DIR`, and in the folders that `upscaler models link DIR` has remembered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

from . import folders
from .errors import SettingsError
from .families import FOLDER_MARK, Kind, class_of, contents_of, one_step_kind

SUFFIXES = (".safetensors", ".gguf", ".pth", ".pt", ".ckpt")
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


_ON_HUB: dict[Kind, tuple[str, ...]] = {
    "diffusion": ("unet/*.safetensors", "transformer/*.safetensors"),
    "control": ("diffusion_pytorch_model*",),
}
"""Where the weights of a repository are; without any it is of no use."""


class Found(NamedTuple):
    """A file or folder that is a model, and whose it is."""

    name: str
    kind: Kind
    path: Path
    place: str = "yours"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of another program with models of one kind."""

    path: Path
    kind: Kind
    place: str


def found(own: Iterable[Path]) -> Iterator[Found]:
    """The models in the user's own folders, each in alphabetical order, and those that other programs keep."""
    for folder in own:
        yield from _found_in(folder)
    for shelf in shelves():
        yield from _found_on(shelf)
    for name, folder in hub_folders():
        kind = _kind_of_folder(folder)
        if kind is not None and any(chain.from_iterable(map(folder.glob, _ON_HUB[kind]))):
            yield Found(name, kind, folder.absolute(), HUB)


def _found_in(folder: Path) -> Iterator[Found]:
    # a name with a dot in front is a model that is still being fetched
    entries = sorted(entry for entry in folder.iterdir() if entry.name[:1] != ".") if folder.is_dir() else []
    files = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in (*SUFFIXES, ".pkl")]
    for file in (changes := [entry for entry in files if one_step_kind(entry)]):
        yield Found(file.stem, "diffusion", file.absolute())
    files = [entry for entry in files if entry not in changes and entry.suffix.lower() in SUFFIXES]
    for file in sorted(files, key=lambda entry: (entry.stem, SUFFIXES.index(entry.suffix.lower()))):
        # what cannot be told is left to spandrel, which knows forty architectures
        if (kind := _kind_of_file(file, "gan")) is not None:
            yield Found(file.stem, kind, file.absolute())
    for file in (entry for entry in entries if entry.suffix.lower() == ".onnx" and entry.is_file()):
        yield Found(file.stem, "detector", file.absolute())
    for entry in entries:
        if (kind := _kind_of_folder(entry)) is not None:
            yield Found(entry.name, kind, entry.absolute())


def _found_on(shelf: Shelf) -> Iterator[Found]:
    """The models in a folder of another program, and in folders inside it; kinds that cannot be told are the folder's."""
    for here, inner, files in os.walk(shelf.path):
        inner[:] = sorted(name for name in inner if name[:1] != ".")
        folder = Path(here).absolute()
        if (kind := _kind_of_folder(folder)) is not None:
            inner.clear()
            yield Found(folder.name, kind, folder, shelf.place)
            continue
        for path in (folder / name for name in sorted(files)):
            one_step = one_step_kind(path)
            if path.suffix.lower() in SUFFIXES or one_step:
                kind = "diffusion" if one_step else _kind_of_file(path, shelf.kind)
                if kind is not None:
                    yield Found(path.stem, kind, path, shelf.place)


def _kind_of_file(file: Path, otherwise: Kind) -> Kind | None:
    """What a file is, or what it is taken for where that cannot be told; `None` for GGUF that is no diffusion model."""
    kind = contents_of(file).kind
    return kind if kind is not None or file.suffix.lower() == ".gguf" else otherwise


def _kind_of_folder(folder: Path) -> Kind | None:
    """What a folder in diffusers format is; `None` where it is no model by itself."""
    if (folder / FOLDER_MARK).is_file():
        return "diffusion"
    return "control" if class_of(folder).startswith("ControlNet") else None


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
