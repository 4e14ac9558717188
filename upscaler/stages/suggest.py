"""Which look suits a picture, by measures that a few lines of arithmetic can take: a suggestion, never a decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import jpeg
from ..arrays.types import Array
from .noise_gate import noise_level

_SIDE = 1024  # of the middle of the picture that is measured, in pixels
_FLAT_STEP = 1.5 / 255  # between neighbours, below which a place counts as flat
# The bundled drawing: 68 % flat, edges of 149; four photographs as they are, compressed, noisy: edges of 4 to 43.
_LINES_FLAT, _LINES_SHARP = 0.3, 75.0
_NOISY = 2.5  # noise of 8/255 that is added to photographs measures 2.7 to 4.2
_DAMAGED = 15.0  # quality 40 of libjpeg measures 17, quality 75 measures 7
_SHARP, _LARGE = 15.0, 6e6  # detail, and pixels


class Suggestion(NamedTuple):
    """A look by its name, and the reason in one sentence."""

    look: str
    reason: str


class Measures(NamedTuple):
    """What is measured in a picture.

    Attributes:
        flat: share of pixels that differ from none of their neighbours, 0 to 1.
        noise: standard deviation, of 255.
        damage: mean quantisation step of the lowest nine frequencies of a JPEG, also a former one, of 255; else 0.
        sharpness: difference of neighbours that a tenth of the places that are not flat exceed, of 255.
        pixels: of the whole picture.
    """

    flat: float
    noise: float
    damage: float
    sharpness: float
    pixels: int


def measure(pixels: Array, tables: tuple[tuple[int, ...], ...] | None = None) -> Measures:
    """The measures of a picture (H, W, 3) in [0, 1]; `tables` as in `Picture.jpeg_quantisation`."""
    height, width = pixels.shape[:2]
    top, left = max((height - _SIDE) // 2 // 8 * 8, 0), max((width - _SIDE) // 2 // 8 * 8, 0)
    middle = np.ascontiguousarray(pixels[top : top + _SIDE, left : left + _SIDE], np.float32)
    if min(middle.shape[:2]) < 8:
        return Measures(0.0, 0.0, 0.0, 0.0, height * width)
    across, down = (np.abs(np.diff(middle, axis=axis)).max(axis=2) for axis in (1, 0))
    steps = np.maximum(across[:-1], down[:, :-1])
    rough = steps[steps >= _FLAT_STEP]
    luma = jpeg.sample(middle)
    found = jpeg.find_steps(luma, tables)
    return Measures(
        flat=float((steps < _FLAT_STEP).mean()),
        noise=float(noise_level(luma)),
        damage=0.0 if found is None else 255 * float(found.luma[:3, :3].mean()),
        sharpness=float(np.quantile(rough, 0.9) * 255) if len(rough) else 0.0,
        pixels=height * width,
    )


def suggest(pixels: Array, tables: tuple[tuple[int, ...], ...] | None = None) -> Suggestion | None:
    """What suits a picture, arguments as for `measure`; `None` where nothing speaks against the usual look."""
    found = measure(pixels, tables)
    if found.flat >= _LINES_FLAT and found.sharpness >= _LINES_SHARP:
        return Suggestion("anime", f"hard edges, and {found.flat:.0%} of it is flat colour, as in line art")
    if found.damage >= _DAMAGED:
        return Suggestion(
            "photo", f"it is heavily compressed (JPEG steps of {found.damage:.0f} of 255), which Photo cleans up"
        )
    if found.noise >= _NOISY:
        return Suggestion("photo", f"it is noisy (about {found.noise:.0f} of 255), and Photo keeps the noise out")
    if found.pixels >= _LARGE and found.sharpness >= _SHARP:
        return Suggestion(
            "faithful", f"it is already sharp, with {found.pixels / 1e6:.0f} MP, so little has to be invented"
        )
    return None
