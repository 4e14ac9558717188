"""Which differences between an input picture and an enlargement of it are real, and which may be noise of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..arrays import jpeg
from ..arrays import ycc as planes
from ..arrays.strips import apply_in_strips
from ..geometry import NO_WRAP, Wrap

Array = NDArray[np.float32]

REACH = 35
"""How far, in pixels, a gated difference depends on others: the low band (15), a chroma block (15), its filter (5)."""

_HALO = 48  # REACH as a multiple of jpeg.ALIGN
_LOW_LEVELS = 4
_LEAST = 1 / 255  # rounding and faint noise; clean photographs keep 98 % of the gain on average, 93 % at least
_NOISE_FACTOR = 3.0
_STEP_FACTOR = 2.0

_FEWEST_BLOCKS = 40
_HIGH = np.add.outer(np.arange(8), np.arange(8)).ravel()[1:] >= 9


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets differences through that say more about a picture than its noise does.

    Attributes:
        noise: contrast of a place, as a standard deviation, at which half of a difference is let through.
        steps: quantisation steps of the picture, if it was JPEG-compressed.
    """

    noise: float
    steps: jpeg.Steps | None

    @classmethod
    def of(
        cls, source: Array, tables: Sequence[Sequence[int]] | None = None, *, start: tuple[int, int] = (0, 0)
    ) -> Gate:
        """The gate for a whole input picture (h, w, 3); `tables` and `start` as for `jpeg.find_steps` and `jpeg.sample`."""
        luma = jpeg.sample(source, start)
        steps = jpeg.find_steps(luma, tables)
        noise = max(_LEAST, _NOISE_FACTOR * noise_level(luma) / 255)
        if steps is not None:
            noise = max(noise, _STEP_FACTOR * float(steps.luma[:3, :3].mean()) / 8)
        return cls(noise, steps)

    def __call__(self, difference: Array, source: Array, wrap: Wrap = NO_WRAP, start: tuple[int, int] = (0, 0)) -> None:
        """Reduce `difference`, the source less an enlargement scaled down, in place to what is more than noise.

        Its low band is kept as it is. Of the rest, what quantisation explains is dropped (`jpeg.beyond_steps`), and
        where the enlargement is flat, nearly all is: a network has cleaned that place, and blocks that hold an edge
        ring all over. A picture that goes around begins at column and row `start`.
        """
        if any(wrap):
            height, width = difference.shape[:2]
            rows, columns = _around(height, start[1], wrap.y), _around(width, start[0], wrap.x)
            around = difference[np.ix_(rows, columns)]
            self(around, source[np.ix_(rows, columns)])
            inner_rows, inner_columns = (slice(_HALO, -_HALO) if circle else slice(None) for circle in (wrap.y, wrap.x))
            difference[np.ix_(rows[inner_rows], columns[inner_columns])] = around[inner_rows, inner_columns]
            return
        apply_in_strips(partial(_beyond_noise, gate=self), difference, source, halo=_HALO, align=jpeg.ALIGN)


def _around(length: int, start: int, circle: bool) -> NDArray[np.intp]:
    """The places of an axis in order; of a circle from `start` on, with what comes before and after them."""
    return np.arange(start - _HALO, start + length + _HALO) % length if circle else np.arange(length)


def noise_level(luma: Array) -> float:
    """Standard deviation of white noise in a picture, from its flattest blocks, in the units of `luma` (h, w).

    Fine texture and noise differ in their spectra: the more the lower frequencies have, the lower the estimate.
    """
    coefficients = jpeg.dct(luma[: luma.shape[0] // 8 * 8, : luma.shape[1] // 8 * 8]).swapaxes(1, 2)
    energy = np.square(coefficients.reshape(-1, 64))[:, 1:]
    if len(energy) < _FEWEST_BLOCKS:
        return 0.0
    total = energy.sum(axis=1)
    flattest = energy[total <= np.quantile(total, 0.1)]
    high, mean = float(flattest[:, _HIGH].mean()), float(flattest.mean())
    return math.sqrt(high) * (high / mean) ** 2 if mean > 0 else 0.0


def _beyond_noise(difference: Array, source: Array, *, gate: Gate) -> Array:
    trust = _variance(planes.split(source - difference)[0])
    trust /= trust + np.float32(gate.noise**2)
    kept: list[Array] = []
    for index, plane in enumerate(planes.split(difference)):
        low = planes.smooth(plane, _LOW_LEVELS)
        high = plane - low
        if gate.steps is not None:
            high = jpeg.beyond_steps(high, gate.steps, chroma=index > 0)
        low += trust * high
        kept.append(low)
    return planes.join(kept)


def _variance(luma: Array) -> Array:
    mean = planes.smooth(luma, 1)
    return np.maximum(planes.smooth(luma * luma, 1) - mean * mean, np.float32(0))
