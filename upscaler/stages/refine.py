"""The second stage: what a refiner makes of tiles, true to what they were cut from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays.types import Image
from ..geometry import Box
from ..models.base import OnStep, Refiner
from ..options.settings import Sampling, Wavelet
from .detail import filter_detail

Redraw = Callable[[list[Image], list[Box], OnStep], list[Image]]
"""A refiner with its sampling and seed filled in: (crops, boxes, on_step) -> tiles, already filtered."""


def redrawing(refiner: Refiner, sampling: Sampling, *, seed: int, wavelet: Wavelet, scale: float) -> Redraw:
    """What a refiner makes of crops, each filtered against what it was given; one with NaN or infinity as it came.

    Args:
        scale: how many times larger the canvas is than the picture that came in.
    """

    def redraw(crops: list[Image], boxes: list[Box], on_step: OnStep) -> list[Image]:
        tiles = refiner(crops, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)
        return [
            filter_detail(tile, crop, scale=scale, color=wavelet.color, denoise=wavelet.denoise)
            if np.isfinite(tile).all()
            else tile
            for tile, crop in zip(tiles, crops)
        ]

    return redraw
