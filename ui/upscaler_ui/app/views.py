"""Pictures to look at, of 8 bits: small copies, and parts in full size."""

from __future__ import annotations

import base64
import io
import math
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image as Pillow
from PIL import ImageOps

from upscaler.arrays.quantise import quantise
from upscaler.arrays.types import Array
from upscaler.errors import UpscalerError
from upscaler.geometry import Box, Size
from upscaler.pictures.encode import pil_image
from upscaler.pictures.headers import as_image_errors, open_header, stream_of
from upscaler.pictures.picture import Picture

TILE_SIDE = 1024
"""Side in pixels of the pieces that a browser gets of a picture that is too large for it as a whole."""

_THUMB_SIDE = 256
_MOST_PIXELS = 16_777_216  # that a browser gets of a whole picture, 4096 x 4096


def reduced(picture: Picture, side: int) -> Pillow.Image:
    """The picture with `side` pixels on its longest side, or as it is where it is smaller; 8 bits, with its profile."""
    size = picture.size.fit(side)
    image = reduced_box(picture, Box(0, 0, *picture.size), size) if size != picture.size else _pil(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(_pil(picture.alpha[..., None]).resize(size, Pillow.Resampling.BOX))
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    return image


def data_uri(image: Pillow.Image, *, quality: int = 85) -> str:
    """The image inside a URI, as JPEG or, with alpha, WebP."""
    stream = io.BytesIO()
    kind = "WEBP" if image.mode == "RGBA" else "JPEG"
    image.save(stream, kind, quality=quality, icc_profile=image.info.get("icc_profile"))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


@lru_cache(maxsize=256)
def file_uri(path: Path | None) -> str:
    """A picture file inside a URI, empty for none; the file is taken to stay as it is."""
    if path is None:
        return ""
    kind = path.suffix.lstrip(".").replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


@lru_cache(maxsize=64)
def thumb_uri(path: Path) -> str:
    """A small copy of any picture file inside a URI, to know it by: made quickly, and empty where that cannot be done."""
    with suppress(UpscalerError, MemoryError), stream_of(path) as (stream, name), as_image_errors(name):
        image = open_header(stream, None)
        image.draft("RGB", (_THUMB_SIDE, _THUMB_SIDE))  # of a JPEG only as many pixels are decoded as that needs
        if image.width * image.height <= 4 * _MOST_PIXELS and not image.mode.startswith(("I", "F")):
            image.thumbnail((_THUMB_SIDE, _THUMB_SIDE))
            return data_uri(ImageOps.exif_transpose(image).convert("RGB"))
    return ""


def file_url(path: Path) -> str:
    """Where the browser gets a file or a folder below the history, relative to the page."""
    return f"gradio_api/file={quote(path.as_posix())}"


def whole(picture: Picture) -> Pillow.Image:
    """All of the picture as an RGB or RGBA image of 8 bits, with its profile."""
    image = pil_image(picture, alpha=picture.alpha is not None, dither=False, grey=False)
    image.info.pop("exif", None)
    return image


def enlarged_part(source: Pillow.Image, size: Size, box: Box) -> Pillow.Image:
    """The part `box` of `source` enlarged bicubically to `size`, without alpha: what a result is compared with."""
    x, y = source.width / size.width, source.height / size.height
    place = (box.left * x, box.top * y, box.right * x, box.bottom * y)
    return source.convert("RGB").resize(box.size, Pillow.Resampling.BICUBIC, box=place)


def levels_of(size: Size) -> int:
    """How many levels the pieces of a picture of that size have; the last one is a single piece."""
    return max(math.ceil(math.log2(max(size) / TILE_SIDE)), 0) + 1


def write_views(folder: Path, result: Picture, source: Picture) -> None:
    """Write into the folder of a result what a browser shows of it.

    thumb.webp; original, the source; after, the result, or in its stead tiles/LEVEL/X_Y.jpg where it is large: pieces of
    `TILE_SIDE` pixels, of which each level has half the size of the one before, down to a single piece.

    Raises:
        OSError: they cannot be written.
    """
    reduced(result, _THUMB_SIDE).convert("RGB").save(folder / "thumb.webp", quality=85)
    _write(reduced(source, _side_within(source.size)), folder / "original")
    width, height = result.size
    if width * height <= _MOST_PIXELS:
        _write(whole(result), folder / "after")
        return
    for level in range(levels_of(result.size)):
        place, step = folder / "tiles" / str(level), TILE_SIDE << level
        place.mkdir(parents=True)
        for top in range(0, height, step):
            for left in range(0, width, step):
                box = Box(left, top, min(left + step, width), min(top + step, height))
                size = Size(*(max(side >> level, 1) for side in box.size))
                tile = reduced_box(result, box, size)
                tile.save(place / f"{left // step}_{top // step}.jpg", quality=92, icc_profile=result.icc)


def _side_within(size: Size) -> int:
    """The longest side at which a picture of that shape has as many pixels as a browser gets of a whole one."""
    return int(max(size) * min((_MOST_PIXELS / (size.width * size.height)) ** 0.5, 1))


def _write(image: Pillow.Image, path: Path) -> None:
    """Write an image as JPEG, or with alpha as PNG; the suffix is added."""
    profile = image.info.get("icc_profile")
    if image.mode == "RGBA":
        image.save(path.with_suffix(".png"), icc_profile=profile, compress_level=1)
    else:
        image.convert("RGB").save(path.with_suffix(".jpg"), icc_profile=profile, quality=95, subsampling=0)


def reduced_box(picture: Picture, box: Box, size: Size) -> Pillow.Image:
    """The part `box` of the picture at `size`: means over blocks, after skipping what no eye could tell."""
    skip = max(min(box.size.width // size.width, box.size.height // size.height) // 4, 1)
    crop = picture.pixels[box.slices][::skip, ::skip]
    return _pil(crop).resize(size, Pillow.Resampling.BOX)


def _pil(pixels: Array) -> Pillow.Image:
    """(H, W, 1 or 3) floats as an image of mode L or RGB."""
    samples = quantise(pixels, dither=False)
    return Pillow.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
