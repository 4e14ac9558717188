"""What libvips does row by row: reading pictures, writing JPEG of a size that Pillow would hold in memory, and deep zoom."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..arrays.strips import strips
from ..arrays.types import Samples
from ..errors import ImageError
from ..geometry import Size
from .picture import Picture, strips_of

_TILE, _OVERLAP = 254, 1  # pixels, as viewers of deep zoom expect them
_START = b"\xff\xd8"  # of a JPEG
_FULL_COLOUR = 90  # from this quality on colour is not reduced
_TYPES = {("uchar", 8): np.uint8, ("ushort", 16): np.uint16}


@dataclass(frozen=True)
class Rows:
    """A picture in a file whose rows are decoded one after the other.

    Attributes:
        size: as it lies in the file, before it is turned.
        bits: of a sample, 8 or 16.
        parts: the first row's number and (h, W, C) samples, from top to bottom.
    """

    size: Size
    channels: int
    bits: int
    parts: Iterator[tuple[int, Samples]]


def open_rows(path: str, channels: int, bits: int) -> Rows | None:
    """The rows of a PNG, JPEG or TIFF that is known to have samples of that kind; `None` where it cannot be read so.

    Memory: a few rows; where the file is a progressive JPEG, its coefficients.
    """
    try:
        vips = _vips()
    except ImageError:
        return None
    try:
        image: Any = vips.Image.new_from_file(path, access="sequential", fail_on="truncated")
    except vips.Error:  # Pillow tells what is wrong with it
        return None
    if (image.format, bits) not in _TYPES or image.bands != channels:
        return None
    return Rows(Size(image.width, image.height), channels, bits, _parts(image, _TYPES[image.format, bits]))


def _parts(image: Any, kind: type[np.unsignedinteger[Any]]) -> Iterator[tuple[int, Samples]]:
    region = _vips().Region.new(image)
    for rows in strips(image.height, image.width):
        content = region.fetch(0, rows.start, image.width, rows.stop - rows.start)
        yield rows.start, np.frombuffer(content, kind).reshape(-1, image.width, image.bands)


def write_jpeg(
    picture: Picture,
    stream: IO[bytes],
    *,
    channels: int,
    quality: int,
    dither: bool,
    icc: bytes | None,
    segments: bytes,
) -> None:
    """Write a JPEG to an open file, with segments of EXIF and the like; a transparent picture is laid on white.

    Raises:
        ImageError: pyvips is not installed.
    """
    folder = Path(stream.name).parent
    with (
        _rows_on_disk(picture, folder, channels=channels, dither=dither) as image,
        tempfile.NamedTemporaryFile(dir=folder, prefix=".upscaler-") as plain,
    ):
        if icc:
            image.set_type(_vips().GValue.blob_type, "icc-profile-data", icc)
        target = _vips().Target.new_to_descriptor(plain.fileno())
        image.jpegsave_target(target, Q=quality, subsample_mode="off" if quality >= _FULL_COLOUR else "on", keep="icc")
        plain.seek(len(_START))
        stream.write(_START)
        stream.write(segments)  # libvips would write its own choice of them
        shutil.copyfileobj(plain, stream, 1 << 20)


def write_deep_zoom(picture: Picture, path: Path, *, quality: int, dither: bool, icc: bytes | None) -> None:
    """Write `NAME.dzi`, and beside it the folder `NAME_files` with JPEG tiles of each level.

    The folder is complete before the file comes that names it. Both are replaced if they are there.

    Raises:
        ImageError: pyvips is not installed.
        OSError: they cannot be written.
    """
    tiles = path.with_name(f"{path.stem}_files")
    draft = Path(tempfile.mkdtemp(prefix=".upscaler-", dir=path.parent))
    try:
        with _rows_on_disk(picture, draft, channels=3, dither=dither) as image:
            if icc:
                image.set_type(_vips().GValue.blob_type, "icc-profile-data", icc)
            suffix = f".jpg[Q={quality},subsample-mode={'off' if quality >= _FULL_COLOUR else 'on'}]"
            image.dzsave(str(draft / "zoom"), tile_size=_TILE, overlap=_OVERLAP, suffix=suffix)
        shutil.rmtree(tiles, ignore_errors=True)
        os.replace(draft / "zoom_files", tiles)
        os.replace(draft / "zoom.dzi", path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _rows_on_disk(picture: Picture, folder: Path, *, channels: int, dither: bool) -> Generator[Any, None, None]:
    """The picture without opacity as an image of libvips, in 8 bits, from a file that is gone afterwards."""
    vips = _vips()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".upscaler-") as file:
        for _, samples in strips_of(picture, channels=channels, alpha=False, dither=dither):
            file.write(samples.tobytes())
        file.flush()
        raw = vips.Image.rawload(file.name, *picture.size, channels)
        yield raw.copy(interpretation="srgb" if channels == 3 else "b-w")


def _vips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError):  # OSError: there is no libvips for it on this system
        raise ImageError(
            'a JPEG of this size and deep zoom need pyvips; install it with pip install "tiled-diffusion-upscaler[large]", '
            "or write TIFF or PNG"
        ) from None
    return pyvips
