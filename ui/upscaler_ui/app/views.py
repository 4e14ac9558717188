"""Pictures to look at, of 8 bits: small copies, and parts in full size."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image as Pillow

from upscaler.arrays.quantise import quantise
from upscaler.arrays.types import Array
from upscaler.geometry import Box, Size
from upscaler.pictures.encode import pil_image
from upscaler.pictures.files import load
from upscaler.pictures.picture import Picture

OVERVIEW_SIDE = 1024
"""Longest side of the small copy in which places to look at are pointed at, in pixels."""

_THUMB_SIDE = 256
_MOST_PIXELS = 25_000_000  # that a browser gets of a whole picture; of a larger one it gets a reduced copy and details


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


def whole(picture: Picture) -> Pillow.Image:
    """All of the picture as an RGB or RGBA image of 8 bits, with its profile."""
    image = pil_image(picture, alpha=picture.alpha is not None, dither=False, grey=False)
    image.info.pop("exif", None)
    return image


@lru_cache(maxsize=2)
def decoded(path: Path) -> Pillow.Image:
    """`whole` of a picture file, however large. The last original and its result stay in memory to be looked at."""
    return whole(load(path, max_pixels=None))


def enlarged_part(source: Pillow.Image, size: Size, box: Box) -> Pillow.Image:
    """The part `box` of `source` enlarged bicubically to `size`, without alpha: what a result is compared with."""
    x, y = source.width / size.width, source.height / size.height
    place = (box.left * x, box.top * y, box.right * x, box.bottom * y)
    return source.convert("RGB").resize(box.size, Pillow.Resampling.BICUBIC, box=place)


def like(result: Pillow.Image, original: Pillow.Image) -> Pillow.Image:
    """The original with the transparency and the profile of the result that it is shown beside."""
    if result.mode == "RGBA":
        original.putalpha(result.getchannel("A"))
    original.info["icc_profile"] = result.info.get("icc_profile")
    return original


def write_views(folder: Path, result: Picture, source: Picture) -> None:
    """Write the small pictures of a result into its folder, and the pair that the browser compares: before and after.

    Raises:
        OSError: they cannot be written.
    """
    reduced(result, _THUMB_SIDE).save(folder / "thumb.webp", quality=85)
    pixels = result.size.width * result.size.height
    after = reduced(result, int(max(result.size) * min((_MOST_PIXELS / pixels) ** 0.5, 1)))
    overview = reduced(result, OVERVIEW_SIDE)
    small = whole(source)
    before, original = (
        like(image, enlarged_part(small, Size(*image.size), Box(0, 0, *image.size))) for image in (after, overview)
    )
    lossless = after.mode == "RGBA"
    for name, image in {"before": before, "after": after, "overview": overview, "original": original}.items():
        profile = image.info.get("icc_profile")
        if lossless:
            image.save(folder / f"{name}.png", icc_profile=profile, compress_level=1)
        else:
            image.save(folder / f"{name}.jpg", icc_profile=profile, quality=95, subsampling=0)


def reduced_box(picture: Picture, box: Box, size: Size) -> Pillow.Image:
    """The part `box` of the picture at `size`: means over blocks, after skipping what no eye could tell."""
    skip = max(min(box.size.width // size.width, box.size.height // size.height) // 4, 1)
    crop = picture.pixels[box.slices][::skip, ::skip]
    return _pil(crop).resize(size, Pillow.Resampling.BOX)


def _pil(pixels: Array) -> Pillow.Image:
    """(H, W, 1 or 3) floats as an image of mode L or RGB."""
    samples = quantise(pixels, dither=False)
    return Pillow.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
