"""Whether the engine hides behind the network: wall time of the tiles against what the network alone takes.

    python -m benchmarks.overlap [--sides 2048 16384] [--milliseconds 20] [--batch 4]

The network is a fake that sleeps for a batch, as a graphics card would work, and leaves the processor free. What cutting,
filtering and blending add beyond the sleep is what the network would wait for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from upscaler import pipeline
from upscaler.arrays.types import Image
from upscaler.events import Finished, Stage
from upscaler.geometry import Box, Size
from upscaler.memory import reuse_freed_memory
from upscaler.models.base import OnStep
from upscaler.options.settings import Sampling, Settings
from upscaler.pictures.picture import Picture
from upscaler.testing import IdentityRefiner


class SleepingRefiner(IdentityRefiner):
    """Sleeps for each batch and gives back the tiles with a faint texture, so that there is something to filter."""

    def __init__(self, seconds: float, batch: int) -> None:
        super().__init__()
        self.seconds, self.batch, self.slept = seconds, batch, 0.0
        self._texture: Image | None = None

    def batch_size(self, tile: Size) -> int:
        return self.batch

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        start = time.perf_counter()
        if self._texture is None or self._texture.shape != tiles[0].shape:
            self._texture = np.random.default_rng(0).normal(0, 0.01, tiles[0].shape).astype(np.float32)
        drawn = [tile + self._texture for tile in tiles]
        time.sleep(max(self.seconds - (time.perf_counter() - start), 0))
        self.slept += self.seconds
        on_step(1, 1)
        return drawn


def measure(side: int, seconds: float, batch: int) -> tuple[float, float, int]:
    """Seconds of the refine stage, seconds that the network slept in it, and tiles."""
    image = np.random.default_rng(1).random((side // 4, side // 4, 3), np.float32)
    settings = Settings.of(gan="none", seams="none", steps=1, consistency=0.0)
    refiner = SleepingRefiner(seconds, batch)
    tiles = 0
    for event in pipeline.run(Picture(image), settings, upscaler=None, refiner=refiner):
        if isinstance(event, Finished):
            return event.seconds[Stage.REFINE], refiner.slept, tiles
        tiles = getattr(event, "total", tiles) if getattr(event, "stage", None) is Stage.REFINE else tiles
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 16384], help="of the canvas")
    parser.add_argument("--milliseconds", type=float, default=20.0, help="that the network takes for a batch")
    parser.add_argument("--batch", type=int, default=4, help="tiles at once")
    given = parser.parse_args()
    reuse_freed_memory()  # as the command does
    measure(1024, 0.0, given.batch)  # warm
    print(f"{'canvas':>8} {'tiles':>6} {'network':>9} {'all':>9} {'ratio':>6}")
    for side in given.sides:
        taken, slept, tiles = measure(side, given.milliseconds / 1000, given.batch)
        print(f"{side:>7}² {tiles:>6} {slept:>8.2f}s {taken:>8.2f}s {taken / slept:>5.2f}x")


if __name__ == "__main__":
    main()
