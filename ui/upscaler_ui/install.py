"""`upscaler install-plugin`: a plugin copied into its host, with the engine and its weights, and removed again.

A pack has the same shape wherever it lies, and its code finds the engine beside it by relative imports:

    PACK/__init__.py  upscaler/  ui/upscaler_ui/__init__.py  ui/upscaler_ui/HOST/  weights/

In ComfyUI the pack is the plugin's folder itself. In a WebUI it is a folder inside it, whose name no other extension
uses, beside what the host wants to find there. `Host` says where things go; what belongs into the plugin's folder
itself lies in `HOST/root/`, and what a plain clone in ComfyUI's `custom_nodes/` needs too, in the root of the
checkout (`root/` of an installed package).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import upscaler
from upscaler import weights
from upscaler.errors import UpscalerError
from upscaler.text import count

UI = Path(__file__).resolve().parent
NAME = "tiled-diffusion-upscaler"
RECORD = "installed-files.json"


@dataclass(frozen=True)
class Host:
    """Where a host wants its plugin.

    Attributes:
        title: the host, in words.
        marks: folders by which it is known.
        plugins: the folder of its plugins.
        pack: where the pack lies in the plugin's folder.
        parts: what of `upscaler_ui` the pack carries.
        root: files of the checkout's root that go into the plugin's folder itself.
    """

    title: str
    marks: tuple[str, ...]
    plugins: str
    pack: str
    parts: tuple[str, ...]
    root: tuple[str, ...] = ()


HOSTS = {
    "comfyui": Host(
        title="ComfyUI",
        marks=("custom_nodes", "models"),
        plugins="custom_nodes",
        pack=".",
        parts=("__init__.py", "comfyui"),
        root=(
            "__init__.py",
            "LICENSE",
            "pyproject.toml",
            "requirements.txt",
            "examples/*.json",
            "examples/*.jpg",
            "examples/api/*",
        ),
    ),
    "webui": Host(
        title="a WebUI (AUTOMATIC1111 or Forge)",
        marks=("extensions", "modules"),
        plugins="extensions",
        pack="tiled_diffusion_upscaler",
        parts=("__init__.py", "controls.py", "webui"),
        root=("LICENSE", "requirements.txt"),
    ),
}


def install_command(parsed: argparse.Namespace) -> int:
    """The command's exit code. Raises: UpscalerError."""
    if parsed.uninstall:
        folder, kept = uninstall(parsed.host, parsed.folder)
        lines = [f"removed {folder}" + (f", except for {count(len(kept), 'file')} of your own" if kept else "")]
    else:
        folder = install(parsed.host, parsed.folder)
        lines = [f"installed {folder}", "start the host again; it installs what is missing"]
        if not (folder / "install.py").is_file():
            lines[1:] = [
                f"then, once, with the Python of {HOSTS[parsed.host].title}:",
                f"  python -m pip install -r {folder / 'requirements.txt'}",
            ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def install(key: str, folder: Path) -> Path:
    """The plugin's folder in the host that is installed in `folder`; what an earlier call installed is replaced.

    The copy is made beside it and takes its name when it is complete. Files that the user put into the old one stay.

    Raises:
        UpscalerError: that is not the host, or there is another plugin of that name.
    """
    host, target = _target(key, folder)
    old = _recorded(target)
    draft = target.with_name(f".{NAME}.disabled")  # hosts skip such names if this is ever left behind
    shutil.rmtree(draft, ignore_errors=True)
    try:
        names: list[str] = []
        for name, source in sorted(_files(key, host)):
            names.append(name)
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, draft / name)
        (draft / RECORD).write_text(json.dumps(names, indent=0) + "\n", "utf-8")
        for name in _foreign(target, old):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            if not (draft / name).exists():
                shutil.copy2(target / name, draft / name)
        if target.exists():
            retired = target.with_name(f".{NAME}.old.disabled")
            shutil.rmtree(retired, ignore_errors=True)
            target.rename(retired)
            draft.rename(target)
            shutil.rmtree(retired)
        else:
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def uninstall(key: str, folder: Path) -> tuple[Path, list[str]]:
    """The plugin's folder, from which everything that `install` put there is gone, and the files that were not ours.

    Raises:
        UpscalerError: that is not the host, or the plugin is not installed there.
    """
    _, target = _target(key, folder)
    if not target.is_dir():
        raise UpscalerError(f"{target} does not exist; there is nothing to remove")
    recorded = _recorded(target)
    kept = _foreign(target, recorded)
    if not kept:
        shutil.rmtree(target)
        return target, kept
    for name in (*recorded, RECORD):
        (target / name).unlink(missing_ok=True)
    for cache in list(target.rglob("__pycache__")):
        shutil.rmtree(cache)
    for inner in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()
    return target, kept


def _target(key: str, folder: Path) -> tuple[Host, Path]:
    host, folder = HOSTS[key], folder.expanduser().resolve()
    missing = [mark for mark in host.marks if not (folder / mark).is_dir()]
    if missing:
        looked = " and ".join(f"{mark}/" for mark in host.marks)
        raise UpscalerError(f"{folder} is not {host.title}: looked for {looked} there, {missing[0]}/ is missing")
    return host, folder / host.plugins / NAME


def _recorded(target: Path) -> list[str]:
    """What an earlier installation put there; nothing where there is none."""
    if not target.exists() and not target.is_symlink():
        return []
    try:
        return json.loads((target / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        raise UpscalerError(f"{target} was not installed by this command; move it away first") from None


def _foreign(target: Path, recorded: list[str]) -> list[str]:
    """Files in the plugin's folder that neither this command nor Python put there."""
    ours = {*recorded, RECORD}
    present = (path for path in target.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(name for path in present if (name := path.relative_to(target).as_posix()) not in ours)


def _files(key: str, host: Host) -> Iterator[tuple[str, Path]]:
    """Name in the plugin's folder and source of every file of the plugin."""
    pack = Path(host.pack)
    engine = Path(upscaler.__file__).resolve().parent
    yield from _below(engine, pack / "upscaler", leave_out=("bundled",))
    yield from _below(weights.bundled_folder(), pack / "weights")
    for part in host.parts:
        yield from _below(UI / part, pack / "ui" / "upscaler_ui" / part, leave_out=("root",))
    if (UI / key / "root").is_dir():
        yield from _below(UI / key / "root", Path())
    root = UI / "root" if (UI / "root").is_dir() else UI.parents[1]
    for pattern in host.root:
        found = [path for path in sorted(root.glob(pattern)) if path.is_file()]
        if not found:
            raise UpscalerError(f"{root / pattern} is missing; reinstall upscaler")
        yield from ((path.relative_to(root).as_posix(), path) for path in found)


def _below(source: Path, target: Path, *, leave_out: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield target.as_posix(), source
        return
    for path in source.rglob("*"):
        inner = path.relative_to(source)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in inner.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc" and inner.parts[0] not in leave_out:
            yield (target / inner).as_posix(), path
