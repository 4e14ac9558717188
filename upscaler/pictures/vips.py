"""What libvips writes from rows on a disk: JPEG of a size that Pillow would hold in memory, and deep zoom for the web."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import ImageError
from .picture import Picture, strips_of

_TILE, _OVERLAP = 254, 1  # pixels, as viewers of deep zoom expect them
_START = b"\xff\xd8"  # of a JPEG
_FULL_COLOUR = 90  # from this quality on colour is not reduced


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
            "a JPEG of this size and deep zoom need pyvips; install it with pip install 'tiled-diffusion-upscaler[large]', "
            "or write TIFF or PNG"
        ) from None
    return pyvips
