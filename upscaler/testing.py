"""Models without weights: for tests, for dry runs, and for front ends under development.

They follow the protocols of `upscaler.models.base` to the letter; the contract tests run against them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .arrays.types import Image
from .errors import OutOfMemory
from .geometry import Box, Size
from .models.base import Face, OnStep
from .options.settings import Sampling
from .tiling.grid import DEFAULT_SIDES, TileSides
from .tiling.noise import field as noise_field


@dataclass
class NearestUpscaler:
    """Repeats every pixel `scale` times on both axes."""

    scale: int = 4
    halo: int = 2

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        return np.ascontiguousarray(image.repeat(self.scale, axis=0).repeat(self.scale, axis=1))


@dataclass
class IdentityRefiner:
    """Gives each tile back as it is. Subclasses override `redraw`."""

    multiple: int = 8
    tile_sides: TileSides = DEFAULT_SIDES

    def batch_size(self, tile: Size) -> int:
        return 4

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        steps = sampling.steps or 1
        for step in range(steps):
            on_step(step + 1, steps)
        return [self.redraw(tile.copy(), box, sampling, seed) for tile, box in zip(tiles, boxes)]

    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        return tile


class InvertRefiner(IdentityRefiner):
    """Gives the negative: a point-wise refiner, so that tiled and untiled results are equal."""

    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        return 1 - tile


class NoiseRefiner(IdentityRefiner):
    """Adds canvas noise of standard deviation `strength / 10`, so that the seed and the position matter."""

    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        noise = noise_field(seed, 0, box, tile.shape[2]).transpose(1, 2, 0)
        return np.clip(tile + np.float32(sampling.strength / 10) * noise, 0, 1)


@dataclass
class ToneShiftRefiner(IdentityRefiner):
    """Adds another constant to each channel of each tile, at most `amount`: what a drifting model does."""

    amount: float = 8 / 255

    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        shift = np.random.default_rng((seed, box.left, box.top)).uniform(-self.amount, self.amount, 3)
        return np.clip(tile + shift.astype(np.float32), 0, 1)


@dataclass
class FailingRefiner(IdentityRefiner):
    """Runs out of memory above `limit` tiles at once, and gives NaN for boxes that contain a point of `broken`."""

    limit: int = 1
    broken: tuple[tuple[int, int], ...] = ()
    batches: list[int] = field(default_factory=lambda: [])

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        self.batches.append(len(tiles))
        if len(tiles) > self.limit:
            raise OutOfMemory(f"a batch of {len(tiles)} tiles does not fit; it was told to fail above {self.limit}")
        return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)

    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        if any(box.left <= x < box.right and box.top <= y < box.bottom for x, y in self.broken):
            tile[0, 0, 0] = np.nan
        return tile


@dataclass
class FixedDetector:
    """Finds the same faces in every picture."""

    faces: list[Face] = field(default_factory=lambda: [])

    def __call__(self, image: Image) -> list[Face]:
        return list(self.faces)


class IdentityRestorer:
    """Gives each face back as it is. Subclasses override `redraw`."""

    def __call__(self, face: Image, *, on_step: OnStep) -> Image:
        on_step(1, 1)
        return self.redraw(face.copy())

    def redraw(self, face: Image) -> Image:
        return face


@dataclass
class PaintRestorer(IdentityRestorer):
    """Paints each face over."""

    colour: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def redraw(self, face: Image) -> Image:
        return np.broadcast_to(np.array(self.colour, np.float32), face.shape).copy()
