"""Which models are available: those that come with the package, and those in folders of the user and of other programs.

Bundled models are declared in `manifest.toml`; a checkout has it in `weights/`, an installed package in
`upscaler/bundled/`. Where the others lie, `places` knows. Nothing is loaded here, and torch is not needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from . import folders, places
from .errors import ChecksumMismatch, UnsupportedModel, WeightsNotFound
from .families import FOLDER_MARK, Kind, contents_of, family_of, one_step_kind
from .memory import Memory
from .text import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DETECTOR = "yunet"
"""The name of the model that finds faces."""
_MOST_FILES = 1000
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""What models on the hub are called: author/model."""


@dataclass(frozen=True, slots=True)
class File:
    """What a bundled file must be: its size in bytes and its SHA-256 as 64 hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model file, or a model folder in diffusers format.

    Attributes:
        path: the file or folder; absolute.
        scale: factor of a GAN model; `None` where it is not known before loading.
        halo: context in input pixels that a tile needs on each side, measured; `None` where it is not known.
        memory: that it takes, measured (`python -m benchmarks.memory`); `None` where it is not known.
        files: what `verify` checks, by absolute path; empty for the user's own models.
        place: "bundled", "yours", or the program that keeps it (see `places`).
        architecture, licence, author, source, description: one line each; empty for the user's own models.
    """

    name: str
    kind: Kind
    path: Path
    scale: int | None = None
    halo: int | None = None
    memory: Memory | None = None
    files: Mapping[Path, File] = field(default_factory=dict[Path, File])
    place: str = "yours"
    architecture: str = ""
    licence: str = ""
    author: str = ""
    source: str = ""
    description: str = ""

    @property
    def bundled(self) -> bool:
        return bool(self.files)

    @property
    def family(self) -> str:
        """ "SD 1.x", "SDXL" and so on; empty where it is not known."""
        if self.path.is_file():
            return one_step_kind(self.path) or contents_of(self.path).family
        return family_of(self.path)

    @property
    def problem(self) -> str:
        """Why this diffusion model cannot redraw tiles; empty if it can."""
        if self.kind != "diffusion" or not self.path.is_file() or one_step_kind(self.path):
            return ""
        return contents_of(self.path).problem

    @property
    def purpose(self) -> str:
        """What it is good for, in a few words."""
        return self.description or self.problem or _PURPOSES[self.kind]

    @property
    def bytes(self) -> int:
        """Size on the disk, of every file in the folder where it is one."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def bundled_folder() -> Path:
    """The folder with `manifest.toml` and the models that come with the package."""
    package = Path(__file__).resolve().parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "weights"


def family_folder(recipe: str) -> Path:
    """The shapes of a family of single files (a key of `families.SINGLE_FILES`), as a diffusers folder without weights."""
    return bundled_folder() / "families" / recipe


def user_folders() -> list[Path]:
    """Where the user's models are looked for: those in `UPSCALER_MODELS`, then `models` in the data folder."""
    listed = [Path(entry).expanduser() for entry in os.environ.get("UPSCALER_MODELS", "").split(os.pathsep) if entry]
    return [*listed, folders.data_folder() / "models"]


@cache
def bundled() -> tuple[Model, ...]:
    """The models that come with the package, in the order of the manifest."""
    folder = bundled_folder()
    try:
        entries: list[dict[str, Any]] = tomllib.loads((folder / "manifest.toml").read_text("utf-8"))["model"]
    except FileNotFoundError:
        raise WeightsNotFound(f"models: {folder / 'manifest.toml'} is missing; reinstall upscaler") from None
    return tuple(
        Model(
            **{key: value for key, value in entry.items() if key not in ("path", "memory", "files")},
            path=folder / entry["path"],
            memory=Memory(**entry["memory"]),
            place="bundled",
            files={folder / name: File(**file) for name, file in entry["files"].items()},
        )
        for entry in entries
    )


def models(kind: Kind | None = None) -> list[Model]:
    """All models by name: the bundled ones, those of each of the user's folders in alphabetical order, and those that other
    programs keep: ComfyUI, the WebUIs, and the hub's cache.

    It is the one list: front ends show it, and names are looked up in it.
    """
    found = [*bundled(), *(Model(**each._asdict()) for each in places.found(user_folders()))]
    return [model for model in found if kind in (None, model.kind)]


def usable(kind: Kind) -> list[Model]:
    """Those of `models` that a run can use, one of each name; for lists to choose from."""
    return list({model.name: model for model in reversed(models(kind)) if not model.problem}.values())[::-1]


def model_folders() -> Iterator[tuple[str, Path]]:
    """Folders of diffusion models in diffusers format by name, in the order of `models`; then all in the hub's cache, where
    they may lack a part.
    """
    yield from ((model.name, model.path) for model in models("diffusion") if model.path.is_dir())
    yield from ((name, folder) for name, folder in places.hub_folders() if (folder / FOLDER_MARK).is_file())


def get(name_or_path: str | os.PathLike[str], kind: Kind) -> Model:
    """The model of that name, with or without its file suffix, or else the one at that path.

    Raises:
        WeightsNotFound: there is neither; names what comes close, where it looked, and what to do.
        UnsupportedModel: there is a pipe or a device, by itself or in its folder, which would keep its reader waiting.
    """
    wanted = os.fspath(name_or_path)
    known = models(kind)
    for candidate in known:
        if wanted in (candidate.name, candidate.path.name):
            return candidate if candidate.bundled else _regular(candidate)
    path = Path(wanted).expanduser().absolute()
    if wanted and os.path.exists(path):  # unlike Path.exists, False for names that no file can have
        declared = (candidate for candidate in bundled() if candidate.path == path.resolve())
        found = next(declared, Model(name=path.stem if path.is_file() else path.name, kind=kind, path=path))
        return _regular(found)
    raise WeightsNotFound(_not_found(wanted, kind, known))


def files_of(path: Path) -> list[Path]:
    """The file and the .yaml that describes it, or the files and folders of a model's folder: some thousand at most."""
    if not path.is_dir():
        described = path.with_suffix(".yaml")
        return [path, described] if described.is_file() else [path]
    return sorted(islice(chain(path.glob("*"), path.glob("*/*")), _MOST_FILES))


def _regular(model: Model) -> Model:
    for file in files_of(model.path):
        try:
            mode = os.stat(file).st_mode
        except OSError:  # a link to nothing; whoever needs the file says so
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UnsupportedModel(f"{file}: is a pipe or a device; a model consists of files")
    return model


def find(name_or_path: str | os.PathLike[str], kind: Kind) -> Path:
    """The path of the model of that name or path: a file, or a folder in diffusers format. Raises as `get` does."""
    return get(name_or_path, kind).path


def _not_found(wanted: str, kind: Kind, known: list[Model]) -> str:
    names = [candidate.name for candidate in known]
    hint = did_you_mean(wanted, names)
    what = _WHAT[kind]
    folders = ", ".join(str(folder) for folder in [bundled_folder(), *user_folders()])
    fetch = f"run `upscaler models fetch {wanted}`, or " if kind in ("face", "detector") else ""
    return f"no {kind} model {wanted!r} ({hint}); looked in {folders}; {fetch}put {what} into the last one or give its path"


_PURPOSES: dict[Kind, str] = {
    "gan": "enlarges (--gan)",
    "diffusion": "redraws tiles (--model)",
    "control": "keeps the structure of the picture (--control)",
    "lora": "changes the style of a diffusion model (--lora)",
    "embedding": "a word for the prompt (--embedding)",
    "vae": "decodes for a diffusion model (--vae)",
    "face": "restores faces (--faces)",
    "detector": "finds faces",
}
_WHAT: dict[Kind, str] = {
    "gan": "a .safetensors file",
    "diffusion": "a .safetensors or .gguf file or a diffusers folder",
    "control": "a ControlNet's file or folder",
    "lora": "a .safetensors file",
    "embedding": "a .safetensors file",
    "vae": "a .safetensors file or a diffusers folder",
    "face": "a file of GFPGAN or RestoreFormer",
    "detector": "yunet.onnx",
}


def verify(model: Model) -> None:
    """Check each file of a bundled model against the manifest; the user's own models have nothing to check.

    Raises:
        ChecksumMismatch: a file is missing or is not the one that the manifest describes.
    """
    for path, expected in model.files.items():
        if not path.is_file():
            raise ChecksumMismatch(f"{model.name}: {path} is missing; reinstall upscaler")
        size = path.stat().st_size
        if size != expected.bytes:
            raise ChecksumMismatch(
                f"{model.name}: {path} has {size} bytes instead of {expected.bytes}; reinstall upscaler"
            )
        if sha256(path) != expected.sha256:
            raise ChecksumMismatch(f"{model.name}: {path} is damaged (wrong SHA-256); reinstall upscaler")


def sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
