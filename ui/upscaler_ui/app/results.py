"""The file of a result: whether it can be written as the settings ask, written, and turned into another format."""

from __future__ import annotations

import itertools
import re
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaler.errors import ImageError
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import check_output, load, save, suffix_of
from upscaler.pictures.picture import Picture
from upscaler.text import one_line

if TYPE_CHECKING:
    from .history import Entry


def check_result(size: Size, settings: Settings) -> None:
    """Check, before a long run, that a result of that size can be written as the settings ask.

    Raises:
        ImageError: it is too large for the format, or too deep.
    """
    out = settings.output
    path = Path(tempfile.gettempdir(), f"result{suffix_of(out.format)}")
    check_output(path, size, format=out.format, bit_depth=out.bit_depth, overwrite=True)


def save_result(picture: Picture, folder: Path, name: str, settings: Settings) -> tuple[Path, tuple[str, ...]]:
    """The new file with the result, written as the settings ask, and notices.

    What the chosen format cannot hold is written as PNG rather than lost.

    Args:
        name: of the file, without its suffix.

    Raises:
        ImageError: not even PNG can be written.
    """
    notices: tuple[str, ...] = ()
    for format in dict.fromkeys((settings.output.format, "png")):
        path = folder / f"{name}{suffix_of(format)}"
        try:
            arguments: dict[str, Any] = {**settings.output.for_save, "format": format}
            return path, notices + save(picture, path, settings_json=settings.to_json(), **arguments)
        except ImageError as error:
            if format == "png":
                raise
            notices = (f"saved as PNG: {error}",)
    raise AssertionError("PNG is the last of the formats")


def convert(result: Path, format: str, settings: Settings, scratch: Path) -> Path:
    """A result in another format, in a new file below `scratch`; the file itself where it has that format.

    Args:
        format: one of `upscaler.pictures.files.FORMATS`.
        settings: those that made it.

    Raises:
        ImageError: the format cannot hold it.
    """
    if result.suffix == suffix_of(format):
        return result
    out = settings.output
    folder = scratch / secrets.token_hex(8)
    folder.mkdir(parents=True)
    path = folder / f"{result.stem}{suffix_of(format)}"
    picture = load(result, max_pixels=None)
    save(picture, path, quality=out.quality, metadata=out.metadata, gps=out.gps, settings_json=settings.to_json())
    return path


def archive(entries: Sequence[Entry], scratch: Path) -> Path:
    """A ZIP file below `scratch` with the files of some results, stored as they are; equal names are numbered.

    Raises:
        ImageError: there are none, or it cannot be written.
    """
    files = [entry.result_path for entry in entries if entry.result_path.is_file()]
    if not files:
        raise ImageError("download: there are no results; change the filter")
    folder = scratch / secrets.token_hex(8)
    folder.mkdir(parents=True)
    path = folder / "upscaler-results.zip"
    used: set[str] = set()
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as stream:
            for file in files:
                name = next(name for name in _names(file) if name not in used)
                used.add(name)
                stream.write(file, name)
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be written ({one_line(error)}); make room on the disk") from error
    return path


def _names(file: Path) -> Iterator[str]:
    yield file.name
    for number in itertools.count(2):
        yield f"{file.stem}-{number}{file.suffix}"


def file_name(name: str) -> str:
    """`name` as part of a file name on every system."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", name).strip(" .")[:100] or "picture"
