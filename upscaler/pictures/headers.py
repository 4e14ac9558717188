"""Opening a picture: a fixed list of readers, the header alone, and one line for whatever is wrong with it."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image as Pillow
from PIL import ImageFile

from ..errors import ImageError, OutOfMemory
from ..text import one_line

# Formats read: Pillow's own readers of pictures. No EPS, PDF or WMF (they run other programs), no icons, no containers.
# HEIF works where the host has registered a reader for it.
_READ = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "HEIF", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000", "QOI")

_PNG = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {2: 3, 4: 2, 6: 4}  # of a pixel of a PNG, by its colour type; one of all others
_PIXELS = (b"IDAT", b"acTL", b"fcTL", b"fdAT")
_LONGEST = 64 << 20  # bytes of a chunk that is read
_ANY = 1 << 62  # pixels: more than any file has
_lock = threading.Lock()
_at_work: list[int] = []  # pixels of the files being decoded, and Pillow's limit when there are none
_usual_limit: int | None = None


@contextmanager
def stream_of(source: Any) -> Generator[tuple[BinaryIO, str], None, None]:
    """A seekable binary file, and what to call it in messages."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(cast("str", source))
        try:
            if path.is_dir():
                raise ImageError(f"{path}: this is a folder; give the name of a picture")
            if path.exists() and not path.is_file():
                raise ImageError(f"{path}: not a regular file; give the name of a picture")
            stream = path.open("rb")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(f"{path}: cannot be opened ({reason}); check the name") from error
        with stream:
            yield cast("BinaryIO", stream), str(path)
    elif isinstance(source, bytes):
        yield BytesIO(source), "picture"
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", None) or "picture")
        seekable = hasattr(source, "seekable") and source.seekable()
        yield cast("BinaryIO", source if seekable else BytesIO(source.read())), name
    else:
        kind = type(source).__name__
        raise ImageError(f"{kind}: not a picture; give a path, bytes, a binary file, a Pillow image or an array")


@contextmanager
def as_image_errors(name: str) -> Generator[None, None, None]:
    """Raise what Pillow and the other decoders raise about broken data as an `ImageError` of one line."""
    try:
        yield
    except ImageError as error:
        text = str(error)
        raise (error if text.startswith(f"{name}: ") else ImageError(f"{name}: {text}")) from error.__cause__
    except (MemoryError, OutOfMemory):
        raise
    except Pillow.UnidentifiedImageError as error:
        known = str(error).startswith("damaged")
        remedy = "save or download it again" if known else f"allowed are {', '.join(_READ)}"
        raise ImageError(f"{name}: {error}; {remedy}") from error
    except Exception as error:  # decoders fail in more ways than can be listed
        raise ImageError(f"{name}: damaged or cut off ({one_line(error)}); save or download it again") from error


def open_header(stream: BinaryIO, max_pixels: int | None) -> ImageFile.ImageFile:
    """The picture in a file with only its header read.

    `PIL.Image.open` compares the size with a limit that is global to the process and below what people upscale. So
    the readers are asked directly, and the caller compares with its own limit. The few readers that ask for the global
    limit themselves get ours.
    """
    Pillow.init()
    stream.seek(0)
    prefix = stream.read(16)
    if not prefix:
        raise ImageError("the file is empty")
    reason = None
    for kind in (kind for kind in _READ if kind in Pillow.OPEN):
        factory, accepts = Pillow.OPEN[kind]
        if accepts is not None and accepts(prefix) is not True:
            continue
        stream.seek(0)
        try:
            return factory(cast("Any", stream), "")
        except Pillow.DecompressionBombError:
            with allow_pixels(_ANY if max_pixels is None else max_pixels):
                stream.seek(0)
                return factory(cast("Any", stream), "")
        except (SyntaxError, IndexError, TypeError, EOFError, KeyError, ValueError, OSError) as error:
            reason = reason or (f"damaged {kind} ({one_line(error)})" if accepts is not None else None)
    raise Pillow.UnidentifiedImageError(reason or "not a picture that can be read")


def open_description(stream: BinaryIO, max_pixels: int | None) -> ImageFile.ImageFile:
    """As `open_header`; but of a PNG, which may describe itself behind its pixels, a copy that has only one of them.

    Pillow decodes a PNG where it is asked for what may stand there.
    """
    image = open_header(stream, max_pixels)
    return open_header(_with_one_pixel(stream), None) if image.format == "PNG" else image


def _with_one_pixel(stream: BinaryIO) -> BinaryIO:
    """A PNG with all that the one in `stream` says of its picture."""
    stream.seek(len(_PNG))
    copy = BytesIO()
    copy.write(_PNG)
    samples, kind = b"", b""
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _PIXELS or length > _LONGEST:
            if kind == b"IDAT" and samples:
                _write_chunk(copy, kind, zlib.compress(samples))
                samples = b""
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        data = stream.read(length)
        stream.seek(4, os.SEEK_CUR)
        if kind == b"IHDR" and length == 13:
            samples = bytes(1 + -(-data[8] * _SAMPLES.get(data[9], 1) // 8))  # the number of a filter, and a pixel
            data = struct.pack(">II", 1, 1) + data[8:12] + b"\0"
        _write_chunk(copy, kind, data)
    if kind != b"IEND":
        _write_chunk(copy, b"IEND", b"")
    copy.seek(0)
    return copy


def _write_chunk(stream: BinaryIO, kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


@contextmanager
def allow_pixels(pixels: int) -> Generator[None, None, None]:
    """Raise Pillow's own limit to at least `pixels` inside; the last of several threads to leave puts it back."""
    global _usual_limit
    with _lock:
        if not _at_work:
            _usual_limit = Pillow.MAX_IMAGE_PIXELS
        _at_work.append(pixels)
        _set_limit()
    try:
        yield
    finally:
        with _lock:
            _at_work.remove(pixels)
            _set_limit()


def _set_limit() -> None:
    Pillow.MAX_IMAGE_PIXELS = None if _usual_limit is None else max(_usual_limit, *_at_work, 0)
