"""Pictures for looking at: small copies, growing canvases, crops at full size. Always 8 bits, never a whole large canvas."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from upscaler.arrays.quantise import quantise
from upscaler.arrays.types import Array
from upscaler.events import Progress
from upscaler.geometry import Box, Size
from upscaler.pictures.encode import pil_image
from upscaler.pictures.files import load
from upscaler.pictures.picture import Picture

LIVE_SIDE = 1024
"""Longest side of the canvas that is shown while it grows, in pixels."""

WHOLE_PIXELS = 25_000_000
"""Largest picture that a browser gets whole; of a larger one it gets a reduced copy and crops."""


def reduced(picture: Picture, side: int) -> Pillow.Image:
    """The picture with `side` pixels on its longest side, or as it is where it is smaller; 8 bits, with its profile."""
    size = fitted(picture.size, side)
    image = _reduced_box(picture, Box(0, 0, *picture.size), size) if size != picture.size else _pil(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(_pil(picture.alpha[..., None]).resize(size, Pillow.Resampling.BOX))
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    return image


def fitted(size: Size, side: int) -> Size:
    """`size` reduced to `side` pixels on its longest side, never enlarged."""
    factor = min(side / max(size), 1.0)
    return Size(*(max(round(length * factor), 1) for length in size))


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


@dataclass
class LiveView:
    """A small copy of a growing canvas, brought up to date where the canvas changed.

    It is drawn to in the job's thread and looked at from others.
    """

    _image: Pillow.Image | None = None
    _target: Size = field(default_factory=lambda: Size(1, 1))
    _icc: bytes | None = None
    _original: str = ""
    _boxes: tuple[Box, ...] = ()
    _stage: object = None
    _changes: int = 0
    _encoded: tuple[int, str] = (-1, "")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, picture: Picture, target: Size) -> None:
        """Begin with the picture as it came, as large as its result will be shown."""
        size = fitted(target, LIVE_SIDE)
        with self._lock:
            self._image = reduced(picture, LIVE_SIDE).convert("RGB").resize(size, Pillow.Resampling.BICUBIC)
            self._target, self._icc = target, picture.icc
            self._image.info["icc_profile"] = picture.icc
            self._original = data_uri(self._image)
            self._changes += 1

    def show(self, event: Progress) -> None:
        """Draw what the event says to be new."""
        if event.picture is None or self._image is None:
            return
        size = event.picture.size
        boxes = tuple(_scaled(box, size, self._image.size) for box in event.boxes)
        new = event.stage is not self._stage  # whatever happened between the stages may have changed all of it
        drawn: list[tuple[Box, Pillow.Image]] = []
        if new or event.step == 0:
            for box in (Box(0, 0, *self._image.size),) if new or not boxes else boxes:
                drawn.append((box, _reduced_box(event.picture, _scaled(box, Size(*self._image.size), size), box.size)))
        with self._lock:
            for box, image in drawn:
                self._image.paste(image, (box.left, box.top))
            self._changes += bool(drawn)
            self._stage = event.stage
            self._boxes = () if event.done == event.total else boxes

    @property
    def target(self) -> Size:
        """Size of the result, in pixels."""
        return self._target

    @property
    def original(self) -> str:
        """The picture as it came, at the size of the canvas, as a data URI."""
        return self._original

    @property
    def boxes(self) -> list[list[float]]:
        """Where the work is: left, top, right, bottom as fractions of the picture."""
        with self._lock:
            if self._image is None:
                return []
            width, height = self._image.size
            return [[b.left / width, b.top / height, b.right / width, b.bottom / height] for b in self._boxes]

    def uri(self) -> str:
        """The canvas as a data URI; the same text as long as nothing changed, empty before the start."""
        with self._lock:
            if self._image is None:
                return ""
            if self._encoded[0] != self._changes:
                self._image.info["icc_profile"] = self._icc
                self._encoded = self._changes, data_uri(self._image)
            return self._encoded[1]


def _scaled(box: Box, size: Size, to: tuple[int, int]) -> Box:
    """The box of a picture of `size` on the pixels of one of size `to`, rounded outwards and cut to it."""
    x, y = to[0] / size.width, to[1] / size.height
    left, top = int(box.left * x), int(box.top * y)
    right, bottom = min(int(np.ceil(box.right * x)), to[0]), min(int(np.ceil(box.bottom * y)), to[1])
    return Box(left, top, max(right, left + 1), max(bottom, top + 1))


def _reduced_box(picture: Picture, box: Box, size: Size) -> Pillow.Image:
    """The part `box` of the picture at `size`: means over blocks, after skipping what no eye could tell."""
    skip = max(min(box.size.width // size.width, box.size.height // size.height) // 4, 1)
    crop = picture.pixels[box.slices][::skip, ::skip]
    return _pil(crop).resize(size, Pillow.Resampling.BOX)


def _pil(pixels: Array) -> Pillow.Image:
    """(H, W, 1 or 3) floats as an image of mode L or RGB."""
    samples = quantise(pixels, dither=False)
    return Pillow.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
