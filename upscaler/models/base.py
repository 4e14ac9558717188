"""What the engine asks of a model: two calls, in numpy only.

Everything outside `upscaler/models/` knows models through these protocols; plugins implement them over their
host's own models, `upscaler.testing` implements them without any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ..arrays.types import Image
from ..geometry import Box, Size
from ..options.settings import Sampling

OnStep = Callable[[int, int], None]
"""Called as `on_step(k, n)` after part `k` of `n` of a tile's work; raises `Cancelled` when the run was stopped."""


@runtime_checkable
class Upscaler(Protocol):
    """A network that enlarges a picture by an integer factor.

    Attributes:
        scale: the factor, 1 to 8.
        halo: how many pixels of context, on each side and in input pixels, a tile needs for its result to be that of
            the whole picture (mean difference below 0.1/255).
    """

    scale: int
    halo: int

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """`image` (H, W, 3) enlarged to (H * scale, W * scale, 3); float32 in [0, 1] both. Deterministic.

        Args:
            on_step: called now and then with the parts of the work that are done and their number, if the network can
                tell; so that a run can be stopped within a large tile.

        Raises:
            OutOfMemory: the picture does not fit at once.
        """
        ...


@runtime_checkable
class Refiner(Protocol):
    """A model that redraws tiles with more detail.

    It is pure: a tile's result depends on the tile, its box, the sampling and the seed, never on the other tiles of
    the batch.

    Attributes:
        multiple: the sides of a tile are multiples of this.
    """

    multiple: int

    def batch_size(self, tile: Size) -> int:
        """How many tiles of that size fit into the free memory at once; 0 if not even one seems to."""
        ...

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """The tiles redrawn: float32 in [0, 1], each of its own shape.

        Args:
            tiles: (h, w, 3) float32 in [0, 1], all of one shape, sides multiples of `multiple`.
            boxes: where they lie in the canvas, in pixels; what is random is a function of this position.
            sampling: strength, steps, prompt and so on.
            seed: >= 0; of the pass, not of the tile.
            on_step: to be called after each evaluation of the network.

        A tile that comes out with NaN or infinity is reported as it is; the caller keeps the original.

        Raises:
            OutOfMemory: the batch does not fit; the caller tries a smaller one.
        """
        ...
