"""A picture: pixels and what came with them, as a value that knows no file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.quantise import quantise, to_float
from ..arrays.store import IN_MEMORY, Store
from ..arrays.strips import strips
from ..arrays.transparency import spread_colours
from ..arrays.types import Image, Samples
from ..errors import ImageError
from ..geometry import Size
from .iptc import DataSet, Iptc

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, what JPEG and Pillow call luma


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels, and what came with them.

    Attributes:
        pixels: the colours, in the picture's own colour space (`icc`), not premultiplied, in [0, 1].
        alpha: opacity, (H, W) float32 in [0, 1]; None where the picture is opaque everywhere.
        grey: the source was grey, so a saved copy is grey again, whatever tint a model gave it.
        depth: bits per sample of the source, 8 or 16.
        icc: colour profile that the pixels are in; None means sRGB.
        exif: EXIF block (with its `Exif\\0\\0` header), orientation already applied, thumbnail left out.
        xmp: XMP packet as it stood in the file.
        iptc: IPTC-IIM datasets.
        text: text chunks of a PNG (`parameters`, `workflow`, ...), by keyword.
        jpeg_quantisation: tables of the source, 64 steps each in row order, luma first; None unless it was a JPEG.
        source: where it was loaded from.
        format: format of the source as Pillow names it.
        notices: one line for each thing that was left out or guessed on loading.
    """

    pixels: Image = field(repr=False)
    _: KW_ONLY
    alpha: NDArray[np.float32] | None = field(default=None, repr=False)
    grey: bool = False
    depth: int = 8
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    iptc: Iptc = field(default_factory=dict[DataSet, "tuple[bytes, ...]"], repr=False)
    text: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    jpeg_quantisation: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)
    source: str | None = None
    format: str | None = None
    notices: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """Width and height in pixels."""
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    def preview(self, side: int) -> NDArray[np.uint8]:
        """Every n-th pixel, so that a side has about `side` pixels or fewer; (h, w, 3), for a look at a running job."""
        stride = max(math.ceil(max(self.size) / side), 1)
        return quantise(self.pixels[::stride, ::stride], dither=False)

    @staticmethod
    def from_array(array: NDArray[Any]) -> Picture:
        """The picture in (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4) samples.

        uint8 and uint16 span their range, bool is black and white, floats are in [0, 1] and are clipped to it.

        Raises:
            ImageError: another shape or type, or no pixels.
        """
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or array.size == 0:
            raise ImageError(f"array of shape {array.shape}: not a picture; allowed is (H, W) or (H, W, 1 to 4)")
        return from_samples(array, depth=16 if array.dtype == np.uint16 else 8)


def from_samples(samples: NDArray[Any], *, depth: int, **rest: Any) -> Picture:
    """The picture in (H, W, C) samples of any integer or float type, with `Picture`'s other fields in `rest`.

    An alpha channel that is opaque everywhere says nothing and is dropped; else `spread_colours` is applied.
    """
    height, width, channels = samples.shape
    parts = ((rows.start, samples[rows]) for rows in strips(height, width))
    return from_rows(parts, Size(width, height), channels, depth=depth, **rest)


def from_rows(
    parts: Iterable[tuple[int, NDArray[Any]]],
    size: Size,
    channels: int,
    *,
    depth: int,
    store: Store = IN_MEMORY,
    seen: Callable[[NDArray[Any]], NDArray[Any]] = lambda array: array,
    **rest: Any,
) -> Picture:
    """The picture of that size in rows that come one after the other: the first one's number, and (h, W, C) samples.

    Args:
        store: where its arrays are made.
        seen: a view of an array of the picture on which the samples lie in the order in which they come.
    """
    pixels = store.empty((size.height, size.width, 3))
    alpha = None if channels in (1, 3) else store.empty((size.height, size.width))
    for top, samples in parts:
        rows = slice(top, top + len(samples))
        seen(pixels)[rows] = to_float(samples[..., :1] if channels < 3 else samples[..., :3])
        if alpha is not None:
            seen(alpha)[rows] = to_float(samples[..., -1])
    if alpha is not None and alpha.min() >= 1:
        alpha = None
    if alpha is not None:
        spread_colours(pixels, alpha, store)
    return replace(Picture(pixels, alpha=alpha, depth=depth, grey=channels < 3), **rest)


def strips_of(
    picture: Picture, *, channels: int, alpha: bool, depth: int = 8, dither: bool = True, rows: int | None = None
) -> Iterator[tuple[int, Samples]]:
    """First row and (h, W, C) samples of the picture, strip by strip: the only place where pixels are rounded.

    `channels` is 1 (luma) or 3. With `alpha` the opacity is the last sample; without it, a transparent picture
    is laid on white. A grey picture gives neutral colours. No temporary is larger than a strip of `rows` rows.
    """
    for span in strips(*picture.pixels.shape[:2], rows=rows):
        colour: NDArray[np.float32] = picture.pixels[span]
        if channels == 1 or picture.grey:
            colour = np.repeat((colour @ _LUMA)[..., None], channels, axis=2)
        opacity = None if picture.alpha is None else picture.alpha[span, :, None]
        if opacity is not None and not alpha:
            colour = colour * opacity + (1 - opacity)
        samples = quantise(colour, top=span.start, depth=depth, dither=dither)
        if alpha:
            shape = (*colour.shape[:2], 1)
            opaque = np.ones(shape, np.float32) if opacity is None else opacity
            samples = np.concatenate([samples, quantise(opaque, depth=depth, dither=False)], axis=2)
        yield span.start, samples
