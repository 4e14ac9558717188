"""The progress of a run, kept in a folder, so that the run goes on after it was stopped or killed.

    large.png.upscaler/
        run.json    what the result depends on: settings, and fingerprints of the picture and the models
        tiles       finished tiles, see `tiling.journal`
        lock        held while a run is at work

A folder without `run.json` is not one that a run can go on from: it is what is left of one that was being removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import weights
from .arrays.strips import strips
from .arrays.types import Array
from .errors import ProgressError, WeightsNotFound
from .folders import fitting, read_object, replace_text
from .geometry import Box
from .options.loras import entries
from .options.settings import Settings
from .pictures.picture import Picture
from .text import one_line
from .tiling.journal import Journal

SUFFIX = ".upscaler"
"""What the folder beside a result is called, after the name of the result."""

_RUN, _TILES, _LOCK = "run.json", "tiles", "lock"
_FORMAT = 1  # to be raised when a release draws other tiles from the same settings
_WITHOUT_EFFECT = {"output", "hardware.device", "hardware.backend", "tiles.batch"}  # on the bytes that tiles come to
_KEPT = 14 * 24 * 60 * 60  # seconds that progress is kept which nobody goes on from
_SAMPLES = 64  # pieces of a model file that are read to tell it from others
_PIECE = 1 << 16


@dataclass(frozen=True)
class Kept:
    """Where a run keeps its progress, and what the run is, from `describe_run`."""

    folder: Path
    run: Mapping[str, Any]


def folder_for(output: Path) -> Path:
    """Where the progress towards a result is kept."""
    return output.with_name(fitting(output.name, SUFFIX))


def name_of(run: Mapping[str, Any]) -> str:
    """A name for a folder that only runs of the same kind have; `run` is from `describe_run`."""
    return hashlib.blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=16).hexdigest()


def drop_old(folder: Path) -> None:
    """Remove the progress below a folder that nobody has gone on from for so long."""
    for kept in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            if is_kept(kept) and time.time() - (kept / _TILES).stat().st_mtime > _KEPT:
                drop(kept)


def is_kept(folder: Path) -> bool:
    """Whether there is progress in a folder that a run can go on from."""
    return (folder / _RUN).is_file()


def is_older(folder: Path, result: Path) -> bool:
    """Whether the run that keeps its progress in a folder began before that result was written."""
    return (folder / _RUN).stat().st_mtime_ns <= result.stat().st_mtime_ns


@contextmanager
def keep_progress(folder: Path, run: Mapping[str, Any], *, restart: bool = False) -> Generator[Journal, None, None]:
    """The journal in a folder, with what an earlier run of the same kind has finished; the folder stays.

    Args:
        run: from `describe_run`.
        restart: drop what another run has left there, instead of refusing to go on from it.

    Raises:
        ProgressError: the folder holds the progress of another run, another run is at work on it, or it cannot be
            written.
    """
    import filelock  # brings asyncio, which importing upscaler need not wait for

    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        if restart or not is_kept(folder):
            (folder / _TILES).unlink(missing_ok=True)
            replace_text(folder / _RUN, json.dumps(run, indent=1))
        else:
            _check_same(folder, run)
        journal = Journal(folder / _TILES)
    except filelock.Timeout:
        raise ProgressError(f"{folder}: another run is at work on this picture; wait for it, or stop it") from None
    except OSError as error:
        lock.release()
        raise ProgressError(f"{folder}: the progress cannot be kept ({one_line(error)})") from error
    except BaseException:
        lock.release()
        raise
    try:
        yield journal
    finally:
        journal.close()
        lock.release()


def drop(folder: Path) -> None:
    """Remove a folder with progress, which nobody needs any more; what cannot be removed stays."""
    (folder / _RUN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def describe_run(
    picture: Picture,
    settings: Settings,
    *,
    region: Box | None,
    mask: Array | None,
    caption: Callable[..., str] | None = None,
) -> dict[str, Any]:
    """All that the tiles of a run depend on, as plain values for JSON; of a function its name.

    Raises:
        WeightsNotFound: a model that the settings name is not there.
    """
    values = {
        f"{group}.{name}": value for group, content in settings.to_dict().items() for name, value in content.items()
    }
    kept = {path: value for path, value in values.items() if not {path, path.split(".")[0]} & _WITHOUT_EFFECT}
    diffusion = settings.diffusion
    return {
        "format": _FORMAT,
        "picture": _fingerprint_of_arrays(picture.pixels, picture.alpha),
        "mask": None if mask is None else _fingerprint_of_arrays(mask),
        "caption": None
        if caption is None
        else f"{caption.__module__}.{getattr(caption, '__qualname__', type(caption))}",
        "region": None if region is None else list(region),
        "gan": _fingerprint_of_model(settings.gan.model, "gan"),
        "diffusion": _fingerprint_of_model(diffusion.model, "diffusion"),
        "control": [_fingerprint_of_model(name, "control") for name, _ in entries(diffusion.control)],
        "base": _fingerprint_of_model(diffusion.base, "diffusion"),
        "vae": _fingerprint_of_model(diffusion.vae, "vae"),
        "lora": [_fingerprint_of_model(name, "lora") for name, _ in entries(diffusion.lora)],
        "embedding": [_fingerprint_of_model(name, "embedding") for name, _ in entries(diffusion.embedding)],
        **_of_faces(settings),
        "settings": json.loads(json.dumps(kept)),
    }


def _of_faces(settings: Settings) -> dict[str, str]:
    """What the faces of a run depend on, where any are restored."""
    if settings.faces.strength == 0:
        return {}
    return {
        "faces": _fingerprint_of_model(settings.faces.model, "face"),
        "detector": _fingerprint_of_model(weights.DETECTOR, "detector"),
    }


def _check_same(folder: Path, run: Mapping[str, Any]) -> None:
    before = read_object(folder / _RUN)
    old, new = (_flat(values) for values in (before, run))
    changed = [name for name in new if old.get(name) != new[name]]
    if not changed:
        return
    told = [f"{name} {old.get(name)!r}, now {new[name]!r}" if "." in name else f"another {name}" for name in changed]
    raise ProgressError(
        f"{folder}: holds the progress of another run ({', '.join(told[:3])}); give the same picture and settings to "
        "continue it, or --restart to start over"
    )


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in run.items() if name != "settings"}, **(run.get("settings") or {})}


def _fingerprint_of_arrays(*arrays: Array | None) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(repr(None if array is None else array.shape).encode())
        if array is not None:
            for rows in strips(*array.shape[:2]):
                digest.update(array[rows].tobytes())
    return digest.hexdigest()


def _fingerprint_of_model(name: str, kind: weights.Kind) -> str:
    """What tells a model from others: names and lengths of its files, and pieces from all over them."""
    if name in ("none", "auto"):
        return name
    try:
        path = weights.find(name, kind)
    except WeightsNotFound:
        if not weights.HUB_ID.fullmatch(name):
            raise
        return name
    digest = hashlib.blake2b(digest_size=16)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''} {size}\n".encode())
        with file.open("rb") as stream:
            for place in range(0, size, max(_PIECE, size // _SAMPLES)):
                stream.seek(place)
                digest.update(stream.read(_PIECE))
    return digest.hexdigest()
