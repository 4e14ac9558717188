"""Pictures in and out: `load`, `save`, `check_output` before a run starts, and `read_settings` of an earlier result."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from ..arrays.store import IN_MEMORY, Store
from ..errors import ImageError
from ..folders import replaceable, whole_or_absent
from ..geometry import MAX_PIXELS, MOST_PIXELS, Size
from ..text import one_line
from . import iptc, xmp
from .credentials import has_credentials
from .decode import decode, decode_rows, decode_tiff, needs_tifffile, raw_mode
from .encode import Options, fitting_profile, pil_image, write
from .headers import allow_pixels, as_image_errors, open_description, open_header, stream_of
from .metadata import KEY, MAX_EXIF, Exif, settings_in
from .metadata import read as read_description
from .picture import Picture
from .vips import Rows, open_rows, write_deep_zoom

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Pillow.Image | NDArray[Any] | Picture"

_CHANNELS = {"L": 1, "I": 1, "LA": 2, "RGB": 3, "RGBA": 4}  # of samples as they lie in a file
_TIFF_CODECS = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")
_EXIF_IN_JPEG = 65533  # bytes in a segment
_XMP_IN_JPEG = _EXIF_IN_JPEG - len(xmp.IN_JPEG)


@dataclass(frozen=True, kw_only=True)
class FileFormat:
    """A format that results are written in.

    Attributes:
        kind: what Pillow calls it.
        suffixes: of its files; the first one is what a new file gets.
        deep: whether it holds 16 bits per sample.
        side, pixels: the largest picture that it holds.
        folder: whether a folder of tiles comes with the file, so that it is no picture to be opened or sent.
    """

    kind: str
    suffixes: tuple[str, ...]
    deep: bool = False
    side: int = (1 << 31) - 1
    pixels: int | None = None
    folder: bool = False


# The limits: signed 32 bits of PNG and TIFF, libjpeg's JPEG_MAX_DIMENSION, 14 bits in VP8, libavif's defaults for readers.
FORMATS = {
    "png": FileFormat(kind="PNG", suffixes=(".png",), deep=True),
    "jpeg": FileFormat(kind="JPEG", suffixes=(".jpg", ".jpeg"), side=65500),
    "webp": FileFormat(kind="WEBP", suffixes=(".webp",), side=16383),
    "tiff": FileFormat(kind="TIFF", suffixes=(".tif", ".tiff"), deep=True),
    "avif": FileFormat(kind="AVIF", suffixes=(".avif",), side=32768, pixels=1 << 28),
    "dzi": FileFormat(kind="DZI", suffixes=(".dzi",), folder=True),
}
"""What a result can be written as, by the names that the settings have for it."""

SUFFIXES = (*(suffix for format in FORMATS.values() if not format.folder for suffix in format.suffixes), ".bmp")
"""Suffixes by which pictures are found in folders."""


def suffix_of(format: str) -> str:
    """What a new file of that format ends in; PNG for auto."""
    return FORMATS["png" if format == "auto" else format].suffixes[0]


def load(
    source: Source, *, max_pixels: int | None = MAX_PIXELS, store: Callable[[Size], Store] = lambda size: IN_MEMORY
) -> Picture:
    """The picture in a path, bytes, a binary file, a Pillow image or an array; a `Picture` is returned as it is.

    Of animations and several pages the first. 16 bits per sample come whole out of PNG and TIFF (Pillow reads other
    formats with 8 in colour). Orientation is applied; colours stay in the file's own space, but CMYK and Lab become
    sRGB; `Picture.notices` says what was left out or guessed.

    Args:
        max_pixels: pictures with more pixels are refused before anything is decoded; `None` refuses none.
        store: says of the size of a picture where its pixels are kept; default is memory. Outside of it, the pictures in
            PNG, JPEG and TIFF are decoded row by row where their samples are 8 or 16 bits of grey or RGB, if there is
            libvips; others are held decoded meanwhile.

    Raises:
        ImageError: missing, empty, damaged, too large, or not a picture.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return Picture.from_array(source)
    if isinstance(source, Pillow.Image):
        _check_input("picture", source.width, source.height, max_pixels)
        with as_image_errors("picture"):
            return decode(source)
    with stream_of(source) as (stream, name), as_image_errors(name):
        origin = {"source": name if isinstance(source, (str, os.PathLike)) else None}
        try:
            image = open_header(stream, max_pixels)
        except Pillow.UnidentifiedImageError:
            stream.seek(0)
            if stream.read(2) not in (b"II", b"MM"):
                raise
            image = None
        if image is None or needs_tifffile(image):
            check = partial(_check_input, name, max_pixels=max_pixels)
            return decode_tiff(stream, check, store=store, format="TIFF", **origin)
        _check_input(name, image.width, image.height, max_pixels)
        origin["format"] = "JPEG" if image.format == "MPO" else image.format
        kept = store(Size(image.width, image.height))
        with allow_pixels(image.width * image.height):
            if kept is not IN_MEMORY and (rows := _rows(image, origin["source"])) is not None:
                picture = decode_rows(image, rows, open_description(stream, max_pixels), store=kept, **origin)
            else:
                picture = decode(image, again=lambda: open_header(stream, max_pixels), store=kept, **origin)
        if has_credentials(stream):
            lost = "its content credentials (C2PA) hold for the unchanged file alone and are left out"
            return replace(picture, notices=(*picture.notices, lost))
        return picture


def _rows(image: ImageFile, path: str | None) -> Rows | None:
    """The rows of an image in a file, if they can be read one after the other; as Pillow reads them, to the bit."""
    kind, _, order = raw_mode(image).partition(";")
    channels, deep = _CHANNELS.get(kind), order.startswith("16")
    whole_rows = not image.info.get("interlace") and not getattr(image, "is_animated", False)
    plain = (
        (image.format == "PNG" and whole_rows)
        or image.format in ("JPEG", "MPO")
        or image.info.get("compression") in _TIFF_CODECS
    )
    if path is None or channels is None or not plain or "transparency" in image.info or not (deep or order == ""):
        return None
    return open_rows(path, channels, 16 if deep else 8)


def size_in_header(source: Source, *, max_pixels: int | None = MAX_PIXELS) -> Size | None:
    """The size of the picture that `load` would return, where the header of a file is enough to tell; else `None`.

    Raises:
        ImageError: missing, empty, too large, or not a picture.
    """
    if not isinstance(source, (str, os.PathLike, bytes)):
        return None
    with stream_of(source) as (stream, name), as_image_errors(name):
        image = open_header(stream, max_pixels)
        if image.format == "TIFF" or image.mode not in ("L", "RGB", "CMYK") or "transparency" in image.info:
            return None
        _check_input(name, image.width, image.height, max_pixels)
        turned = read_description(open_description(stream, max_pixels), []).orientation > 4
        return Size(image.height, image.width) if turned else Size(image.width, image.height)


def save(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    quality: int = 95,
    bit_depth: Literal[0, 8, 16] = 0,
    dither: bool = True,
    metadata: bool = True,
    gps: bool = True,
    mark_ai: bool = False,
    settings_json: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write the picture; returns one line for each thing that the format could not hold.

    The file appears under its name only when it is complete.

    Args:
        format: png, jpeg, webp, tiff, avif, or dzi (deep zoom: a folder of tiles beside the file); auto takes it from the
            suffix.
        quality: 1 to 100 for JPEG, WebP and AVIF; from 90 on JPEG and AVIF keep the full resolution of colour, and 100
            makes WebP lossless.
        bit_depth: 8, or 16 for PNG and TIFF; 0 keeps the source's where the format can.
        dither: see `upscaler.arrays.quantise.quantise`; 8 bits only.
        metadata: False leaves out EXIF, XMP, IPTC, texts and settings. The colour profile stays: without it the colours would be
            wrong.
        gps: whether the place where it was taken goes into the file.
        mark_ai: say in XMP, in the IPTC's term for it, that a trained model has changed the picture.
        settings_json: a JSON object, for `read_settings`.
        overwrite: replace an existing file.

    Raises:
        ImageError: as `check_output`, or the file cannot be written.
    """
    path = Path(path)
    check_output(path, picture.size, format=format, bit_depth=bit_depth, overwrite=overwrite)
    written = _format_of(path, format)
    kind = written.kind
    depth = bit_depth or (picture.depth if written.deep else 8)
    if not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality {quality} is not within 1 to 100")
    text = dict(picture.text) if metadata else {}
    settings = json.dumps(json.loads(settings_json)) if metadata and settings_json is not None else None
    exif = Exif.parse(picture.exif if metadata else None).described(picture.size, gps=gps)
    notices: tuple[str, ...] = ()
    if kind == "PNG":
        text |= {} if settings is None else {KEY: settings}
    else:
        exif, notices = exif.with_texts(settings, text, most=_EXIF_IN_JPEG if kind == "JPEG" else MAX_EXIF)
    datasets = picture.iptc if metadata else {}
    datasets = datasets if gps else iptc.without_place(datasets)
    own_place = kind in ("JPEG", "TIFF")  # for IPTC; elsewhere XMP says the same
    packet = xmp.described(
        picture.xmp if metadata else None,
        picture.size,
        place=gps,
        more={} if own_place else iptc.as_xmp(datasets),
        ai=mark_ai,
    )
    if kind == "JPEG" and packet is not None and len(packet) > _XMP_IN_JPEG:
        packet, notices = None, (*notices, "its XMP does not fit into a JPEG and is left out")
    options = Options(
        quality=quality,
        depth=depth,
        dither=dither,
        icc=picture.icc,
        exif=exif,
        xmp=packet,
        iptc=datasets if own_place else {},
        texts=text,
    )
    try:
        if written.folder:
            write_deep_zoom(picture, path, quality=quality, dither=dither, icc=fitting_profile(picture, 3))
            return ("deep zoom holds no EXIF, no XMP and no settings",) if metadata or mark_ai else ()
        with whole_or_absent(path, overwrite=overwrite) as stream:
            return notices + write(picture, stream, kind, options)
    except FileExistsError as error:
        raise _taken(path) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"{path}: cannot be written ({_reason(error)})") from error


def to_pil(picture: Picture, *, dither: bool = True) -> Pillow.Image:
    """A Pillow image of 8 bits: L, LA, RGB or RGBA, with `icc_profile` and `exif` in its `info`."""
    return pil_image(picture, alpha=picture.alpha is not None, dither=dither)


def check_output(
    path: str | os.PathLike[str],
    size: Size,
    *,
    format: str = "auto",
    bit_depth: Literal[0, 8, 16] = 0,
    overwrite: bool = False,
) -> None:
    """Check that `save` can write a picture of `size` there; ask before a long run.

    Raises:
        ImageError: unknown format, too large or too deep for it, an existing file, or a folder that is missing or may
            not be written to.
    """
    path = Path(path)
    written = _format_of(path, format)
    kind, pixels = written.kind, written.pixels
    if max(size) > written.side or (pixels is not None and size.width * size.height > pixels):
        most = f"{written.side} pixels a side" + (f" and {pixels >> 20} Mi pixels" if pixels else "")
        raise ImageError(f"{path}: {size} is too large for {kind}, which holds {most}; write PNG or TIFF")
    if bit_depth == 16 and not written.deep:
        raise ImageError(f"{path}: {kind} holds 8 bits per sample, not 16; write PNG or TIFF")
    try:
        target = Path(os.path.realpath(path))  # a link stays one, and what it leads to is written
        if target.is_dir():
            raise ImageError(f"{path}: this is a folder; give the name of a file")
        if replaceable(target) is not None and not overwrite:
            raise _taken(path)
        folder = path.parent if target.parent == Path(os.path.realpath(path.parent)) else target.parent
        if not folder.is_dir():
            raise ImageError(f"{path}: there is no folder {folder}; create it first")
        if not os.access(folder, os.W_OK):
            raise ImageError(f"{path}: you may not write to the folder {folder}; choose another one")
    except (OSError, ValueError) as error:  # a name that is too long, or has a character that no name can have
        raise ImageError(f"{path}: cannot be written ({_reason(error)}); choose another name") from error


def _taken(path: Path) -> ImageError:
    return ImageError(f"{path}: already exists; choose another name, or replace it with output.overwrite")


def _reason(error: Exception) -> str:
    """What the system says is wrong, without the names that it was asked for."""
    return one_line(error) if getattr(error, "strerror", None) is None else str(cast(OSError, error).strerror)


def _format_of(path: Path, format: str) -> FileFormat:
    """The format that is asked for, by name or by the suffix of the path, if it can be written here."""
    Pillow.init()
    allowed = [found for found in FORMATS.values() if found.folder or found.kind in Pillow.SAVE]
    suffix = path.suffix.lower() if format == "auto" else f".{format.lower()}"
    for found in allowed:
        if suffix in found.suffixes:
            return found
    wrong = f"suffix {path.suffix!r}" if format == "auto" else f"format {format!r}"
    kinds = ", ".join(found.kind for found in allowed)
    raise ImageError(f"{path}: {wrong} cannot be written; allowed are {kinds}")


def read_settings(source: str | os.PathLike[str] | bytes | BinaryIO) -> dict[str, Any] | None:
    """The settings that `save` put into this file, or `None`; pixels are not read. Raises: ImageError."""
    with stream_of(source) as (stream, name), as_image_errors(name):
        return settings_in(open_description(stream, None))


def _check_input(name: str, width: int, height: int, max_pixels: int | None) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the picture has no pixels ({width}x{height})")
    if max_pixels is not None and width * height > max_pixels:
        remedy = f"raise output.max_pixels to {math.ceil(width * height / 1e6)}"
        if width * height > MOST_PIXELS:
            remedy = f"no more than {MOST_PIXELS // 1_000_000} can be read, so make it smaller, or cut it into parts"
        raise ImageError(
            f"{name}: {width}x{height} is {width * height / 1e6:.0f} megapixels, above the limit of"
            f" {max_pixels / 1e6:g}; {remedy}"
        )
