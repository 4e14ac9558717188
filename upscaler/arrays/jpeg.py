"""What JPEG compression left of a picture: its quantisation steps, and which differences they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import Size
from . import ycc as planes
from .resample import resample

Array = NDArray[np.float32]

# Annex K of ITU-T T.81, the tables that libjpeg scales by its quality setting.
_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMA = np.full((8, 8), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_u, _x = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
_DCT = (np.where(_u == 0, np.sqrt(1 / 8), 0.5) * np.cos((2 * _x + 1) * _u * np.pi / 16)).astype(np.float32)


def standard_tables(quality: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The luma and chroma tables, (8, 8), that libjpeg writes for a quality of 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (np.clip((table * scale + 50) // 100, 1, 255) for table in (_LUMA, _CHROMA))
    return luma, chroma


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Quantisation steps of a decoded JPEG picture.

    Attributes:
        luma, chroma: (8, 8) float32, rows are vertical frequencies, in units of pictures in [0, 1].
        origin: x and y, 0 to 7, of the first corner where four blocks meet.
    """

    luma: Array
    chroma: Array
    origin: tuple[int, int] = (0, 0)


ALIGN = 16
"""Planes passed to `beyond_steps` start at multiples of this row: the side of a chroma block of a 4:2:0 picture."""

_CERTAIN = 0.4
_ENOUGH = 64
_SAMPLE = 640


def sample(image: Array, start: tuple[int, int] = (0, 0)) -> Array:
    """Luma of the middle of a picture (h, w, 3), in units of 1/255; it starts at multiples of 8 pixels.

    Of a picture that goes around and begins at column and row `start`, the middle is counted from there.
    """
    rows, columns = (
        (np.arange(min(length, _SAMPLE)) + max(length - _SAMPLE, 0) // 16 * 8 + first) % length
        for length, first in zip(image.shape[:2], reversed(start))
    )
    return planes.split(image[np.ix_(rows, columns)])[0] * np.float32(255)


def find_steps(luma: Array, tables: Sequence[Sequence[int]] | None = None) -> Steps | None:
    """The quantisation steps that made a picture, or `None` where it bears no trace of JPEG compression.

    Args:
        luma: `sample` of the decoded picture, not resized since.
        tables: the quantisation tables of its file, luma first, 64 numbers each, row by row, as Pillow's
            `Image.quantization` has them. Without them the tables are those that libjpeg writes for the quality which
            explains the picture best.

    DCT coefficients of a decoded picture lie at multiples of their step. The mean of cos(2 pi coefficient / step) over
    those that are not zero is thus near one for the right tables (0.54 to 0.99 on photographs of quality 25 to 95)
    and at most 0.04 on photographs that were not compressed.
    """
    origins = [(0, 0), _block_origin(luma)]
    if tables:
        known = [np.asarray(table).reshape(8, 8) for table in (tables[0], tables[min(1, len(tables) - 1)])]
        return _steps(known[0], known[1], max(origins, key=lambda origin: _fit(_coefficients(luma, origin), known[0])))
    for origin in origins:
        coefficients = _coefficients(luma, origin)
        quality = max(range(5, 97), key=lambda quality: _fit(coefficients, standard_tables(quality)[0]))
        if _fit(coefficients, standard_tables(quality)[0]) > _CERTAIN:
            return _steps(*standard_tables(quality), origin)
    return None


def beyond_steps(plane: Array, steps: Steps, *, chroma: bool) -> Array:
    """The part of a plane of differences (h, w) between a decoded picture and another that its steps do not explain.

    A coefficient of the file stands for all values within half a step. A difference within that interval means nothing;
    of a larger one only what lies beyond is kept. Chroma is taken as subsampled 2x2.

    Source: projection onto the quantisation constraint set (Zakhor 1992, Iterative procedures for reduction of
    blocking effects in transform image coding).
    """
    height, width = plane.shape
    left, top = -steps.origin[0] % ALIGN, -steps.origin[1] % ALIGN
    margins = (top, -(top + height) % ALIGN), (left, -(left + width) % ALIGN)
    padded = np.pad(plane, margins, mode="edge")
    if chroma:
        padded = (padded[0::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 0::2] + padded[1::2, 1::2]) * np.float32(0.25)
    coefficients = dct(padded)
    half = ((steps.chroma if chroma else steps.luma) / 2)[:, None, :]
    coefficients -= np.clip(coefficients, -half, half)
    padded = _inverse_dct(coefficients)
    if chroma:
        padded = resample(padded, Size(2 * padded.shape[1], 2 * padded.shape[0]))
    return padded[top : top + height, left : left + width]


def dct(plane: Array) -> Array:
    """Orthonormal 8x8 DCT of a plane; coefficient (u, v) of block (a, b) lies at [a, u, b, v]."""
    height, width = plane.shape
    # Both products have shapes that do not depend on the height, so that strips are rounded as the whole plane is.
    rows = np.matmul(_DCT, plane.reshape(height // 8, 8, width))
    return np.matmul(rows.reshape(height, width // 8, 8), _DCT.T).reshape(height // 8, 8, width // 8, 8)


def _inverse_dct(coefficients: Array) -> Array:
    blocks, _, across, _ = coefficients.shape
    rows = np.matmul(coefficients.reshape(blocks * 8, across, 8), _DCT)
    return np.matmul(_DCT.T, rows.reshape(blocks, 8, across * 8)).reshape(blocks * 8, across * 8)


def _steps(luma: NDArray[np.int64], chroma: NDArray[np.int64], origin: tuple[int, int]) -> Steps:
    return Steps((luma / 255).astype(np.float32), (chroma / 255).astype(np.float32), origin)


def _coefficients(luma: Array, origin: tuple[int, int]) -> Array:
    luma = luma[origin[1] :, origin[0] :]
    height, width = (length // 8 * 8 for length in luma.shape)
    return dct(luma[:height, :width])


def _fit(coefficients: Array, table: NDArray[np.int64]) -> float:
    """How well the coefficients lie at multiples of the table's steps: 0 for none, 1 for all of them."""
    steps = np.where(table > 1, table, 1 << 20).astype(np.float32)
    steps[0, 0] = 1 << 20
    ratios = np.abs(coefficients / steps[:, None, :])
    ratios = ratios[ratios > 0.5]
    return float(np.cos(2 * np.pi * ratios).mean()) if ratios.size >= _ENOUGH else 0.0


def _block_origin(luma: Array) -> tuple[int, int]:
    """x and y, 0 to 7, where the steps between neighbouring pixels are largest, as they are at the sides of blocks."""
    origin: list[int] = []
    for axis in (1, 0):
        steps = np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis)
        excess = steps[1:-1] - np.minimum(steps[:-2], steps[2:])  # number i lies between pixels i + 1 and i + 2
        means = [float(excess[phase::8].mean()) if excess[phase::8].size else 0.0 for phase in range(8)]
        origin.append((int(np.argmax(means)) + 2) % 8)
    return origin[0], origin[1]
