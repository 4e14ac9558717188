"""Where a result goes: beside its source or into a folder that was chosen, and never over anything by accident."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from upscaler.errors import ImageError
from upscaler.folders import whole_or_absent
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import SUFFIXES, load, save
from upscaler.text import one_line


def factor_tag(source: Size, target: Size) -> str:
    """What a result's name ends in.

    >>> factor_tag(Size(100, 50), Size(400, 200)), factor_tag(Size(100, 50), Size(250, 125))
    ('x4', 'x2.5')
    >>> factor_tag(Size(100, 50), Size(333, 90))
    '333x90'
    """
    across, down = target.width / source.width, target.height / source.height
    shown = f"{across:.2f}".rstrip("0").rstrip(".")
    even = abs(float(shown) * source.width - target.width) < 1 and abs(across - down) * source.height < 1
    return f"x{shown}" if even else f"{target.width}x{target.height}"


def home_of(source: Path, root: Path | None, place: Path | None) -> Path:
    """The folder for the result of `source`.

    Args:
        root: the folder that was chosen with the source in it; below `place` its inner folders are kept.
        place: the folder for results; `None` is beside the source.
    """
    if place is None:
        return source.parent
    return place / source.parent.relative_to(root) if root is not None else place


def put(result: Path, folder: Path, stem: str) -> Path:
    """Copy a finished file into a folder, which is made where it is missing; where the name is taken, a number follows it.

    Returns the new file; it appears under its name only when it is complete.

    Raises:
        ImageError: it cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _names(folder, stem, result.suffix):
            if not os.path.lexists(path):
                with suppress(FileExistsError):  # it came there in the meantime
                    _copy(result, path, overwrite=False)
                    return path
        raise AssertionError("there is always another number")
    except OSError as error:
        raise ImageError(
            f"{stem}{result.suffix}: cannot be written to {folder} ({error.strerror or one_line(error)}); "
            "it is in the history: choose Save as, or another folder for results"
        ) from error


def save_as(result: Path, path: Path, settings: Settings) -> None:
    """Write a result under a name that its user has confirmed, in the format of its ending.

    Raises:
        ImageError: there is no such format, it cannot hold the result, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path.name}: no picture format has this ending; use one of {', '.join(SUFFIXES)}")
    if path.suffix.lower() == result.suffix.lower():
        try:
            _copy(result, path, overwrite=True)
        except OSError as error:
            raise ImageError(f"{path.name}: cannot be written ({error.strerror}); choose another folder") from error
        return
    out = settings.output
    save(
        load(result, max_pixels=None),
        path,
        quality=out.quality,
        metadata=out.metadata,
        gps=out.gps,
        settings_json=settings.to_json(),
        overwrite=True,
    )


def _names(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    yield folder / f"{stem}{suffix}"
    yield from (folder / f"{stem}-{number}{suffix}" for number in itertools.count(2))


def _copy(source: Path, path: Path, *, overwrite: bool) -> None:
    with source.open("rb") as content, whole_or_absent(path, overwrite=overwrite) as stream:
        shutil.copyfileobj(content, stream, 1 << 20)
