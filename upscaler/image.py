"""The picture type, and the operations on it that need nothing but numpy: transparency, rounding, dither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .geometry import Size

if TYPE_CHECKING:
    from os import PathLike

    import PIL.Image

Image: TypeAlias = NDArray[np.float32]
"""(H, W, 3) RGB in [0, 1], C-contiguous: what flows between all stages outside `models/`."""

Samples: TypeAlias = NDArray[Any]
"""(H, W, C) uint8 or uint16 as they stand in files: C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""

STRIP_PIXELS = 1 << 18
"""Pixels handled at once by anything that walks over a whole picture: temporaries stay at a few MB."""

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
    text: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    jpeg_quantisation: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)
    source: str | None = None
    format: str | None = None
    notices: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """Width and height in pixels."""
        return Size(self.pixels.shape[1], self.pixels.shape[0])

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

    @staticmethod
    def from_pil(image: PIL.Image.Image) -> Picture:
        """The picture in a Pillow image of any mode; its orientation tag is applied. Raises: ImageError."""
        from .files import load

        return load(image, max_pixels=image.width * image.height)

    def to_pil(self, *, dither: bool = True) -> PIL.Image.Image:
        """A Pillow image of 8 bits: L, LA, RGB or RGBA, with `icc_profile` and `exif` in its `info`."""
        from .encode import pil_image

        return pil_image(self, alpha=self.alpha is not None, dither=dither)

    def save(self, path: str | PathLike[str], **options: Any) -> tuple[str, ...]:
        """Write the picture to a file; `upscaler.files.save` has the options. Notices come back. Raises: ImageError."""
        from .files import save

        return save(self, path, **options)


def from_samples(samples: NDArray[Any], *, depth: int, **rest: Any) -> Picture:
    """The picture in (H, W, C) samples of any integer or float type, with `Picture`'s other fields in `rest`.

    An alpha channel that is opaque everywhere says nothing and is dropped; else `spread_colours` is applied.
    """
    channels = samples.shape[2]
    colour = samples[..., :1] if channels < 3 else samples[..., :3]
    pixels = np.empty((*samples.shape[:2], 3), np.float32)
    for rows in _strips(*samples.shape[:2]):
        pixels[rows] = to_float(colour[rows])
    alpha = None if channels in (1, 3) else np.ascontiguousarray(to_float(samples[..., -1]))
    if alpha is not None and alpha.min() >= 1:
        alpha = None
    if alpha is not None:
        spread_colours(pixels, alpha)
    return replace(Picture(pixels, alpha=alpha, depth=depth, grey=channels < 3), **rest)


def to_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as float32 in [0, 1]: integers divided by their largest value, floats clipped, NaN as 0."""
    if samples.dtype == np.bool_:
        return samples.astype(np.float32)
    if np.issubdtype(samples.dtype, np.unsignedinteger):
        return np.divide(samples, np.float32(np.iinfo(samples.dtype).max), dtype=np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        return np.fmin(np.fmax(samples, 0), 1).astype(np.float32)
    raise ImageError(f"samples of type {samples.dtype}: allowed are bool, uint8, uint16, uint32 and floats")


def spread_colours(pixels: Image, alpha: NDArray[np.float32]) -> None:
    """Give every fully transparent pixel, in place, the colours of the visible pixels around it.

    What stands in a file below alpha 0 is arbitrary (often black) and would bleed into the edge at the first filter or
    network. Push-pull: average the visible pixels down a pyramid, then fill each hole from the level below it, linearly
    interpolated. Visible pixels stay as they are. Memory: about half of `pixels`.

    Source: Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.3.
    """
    visible = alpha > 0
    if visible.all() or not visible.any():
        return
    height, width = alpha.shape
    coarse = np.empty(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
    weight = np.empty(coarse.shape[:2], np.float32)
    for rows in _strips(*weight.shape):
        fine = slice(2 * rows.start, 2 * rows.stop)
        seen = visible[fine, :, None].astype(np.float32)
        total = _sum_blocks(pixels[fine] * seen)
        count = _sum_blocks(seen)
        coarse[rows] = total / np.maximum(count, 1)
        weight[rows] = count[..., 0] > 0
    spread_colours(coarse, weight)
    for rows in _strips(height, width, even=True):
        above, below = rows.start // 2, min((rows.stop + 1) // 2, len(coarse))
        top = max(above - 1, 0)
        filled = _double(_double(coarse[top : below + 1], 0), 1)[rows.start - 2 * top :, :width]
        hidden = ~visible[rows]
        pixels[rows][hidden] = filled[: len(hidden)][hidden]


def quantise(image: NDArray[np.float32], *, top: int = 0, depth: int = 8, dither: bool = True) -> Samples:
    """Integers of `depth` bits (8 or 16) for (H, W, C) floats in [0, 1], whose first row is row `top` of the picture.

    `dither` (8 bits only) adds an offset below half a step to a pixel before rounding, the same to all its channels, so
    that smooth gradients do not band. It depends on the position alone, so strips give the bytes of the whole; exact
    multiples of 1/255, black and white among them, and neutral greys stay what they are.

    Source: the sequence R2 (Roberts, The unreasonable effectiveness of quasirandom sequences, 2018) as ordered dither:
    evenly spread, and without the low frequencies that would show.
    """
    peak = (1 << depth) - 1
    scaled = np.fmin(np.fmax(image, 0), 1) * np.float32(peak)  # NaN becomes 0
    if dither and depth == 8:
        scaled += _dither(top, *image.shape[:2])[..., None]
    return np.rint(scaled, out=scaled).astype(np.uint16 if depth == 16 else np.uint8)


def strips_of(
    picture: Picture, *, channels: int, alpha: bool, depth: int = 8, dither: bool = True, rows: int | None = None
) -> Iterator[tuple[int, Samples]]:
    """First row and (h, W, C) samples of the picture, strip by strip: the only place where pixels are rounded.

    `channels` is 1 (luma) or 3. With `alpha` the opacity is the last sample; without it, a transparent picture
    is laid on white. A grey picture gives neutral colours. No temporary is larger than a strip of `rows` rows.
    """
    for span in _strips(*picture.pixels.shape[:2], rows=rows):
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


def _dither(top: int, height: int, width: int) -> NDArray[np.float32]:
    """Offsets in (-0.499, 0.499) for `height` rows from row `top` on; exact integer arithmetic, so any size will do."""
    a, b = np.uint64(0xC13FA9A9), np.uint64(0x91E10DA5)  # 2^32 / g and 2^32 / g^2, where g^3 = g + 1
    rows = (np.arange(top, top + height, dtype=np.uint64) * b)[:, None]
    columns = np.arange(width, dtype=np.uint64) * a
    return ((rows + columns).astype(np.uint32) * np.float32(0.998 / 2**32) - np.float32(0.499)).astype(np.float32)


def _strips(height: int, width: int, *, rows: int | None = None, even: bool = False) -> Iterator[slice]:
    """Row slices of about `STRIP_PIXELS` each, or of `rows` rows; with `even` each starts on an even row."""
    step = rows or max(1, STRIP_PIXELS // width)
    step += step % 2 if even else 0
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _sum_blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over blocks of 2 x 2; an odd last row or column forms a block of its own."""
    image = np.add.reduceat(image, range(0, image.shape[0], 2), axis=0)
    return np.add.reduceat(image, range(0, image.shape[1], 2), axis=1)


def _double(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Twice as long along `axis`, linearly interpolated between the centres of the old samples."""
    image = np.moveaxis(image, axis, 0)
    near = np.concatenate([image[:1], image, image[-1:]])
    out = np.empty((2 * len(image), *image.shape[1:]), np.float32)
    out[0::2] = 0.75 * image + 0.25 * near[:-2]
    out[1::2] = 0.75 * image + 0.25 * near[2:]
    return np.moveaxis(out, 0, axis)
