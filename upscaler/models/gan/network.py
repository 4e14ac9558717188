"""The GAN stage: any super-resolution network that spandrel knows, as an `Upscaler`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

from ...arrays.types import Image
from ...errors import WeightsError
from ..base import OnStep
from ..compiled import Compiled
from ..device import memory_errors
from ..layers import after_each, layers_with_weights
from ..sharing import Turns
from ..transfer import download, upload
from .read import Network

HALOS = {"ESRGAN": 48, "Compact": 24}
"""Halo by spandrel's architecture for models without a measured one: that of the bundled model for the deepest
ESRGAN; twice that of the bundled Compact, as there are some with twice its layers."""
HALO = 48
"""Halo of any other architecture: no less than the largest one measured."""

AT_WORK = {"ESRGAN": 5000.0, "Compact": 900.0}
"""Bytes of memory for each pixel of a tile that goes in, by spandrel's architecture: those of the bundled models."""

SMALLEST = 16
"""Smaller pictures are padded to this by reflection: networks pad with black, which would be most of what they see."""


class GanUpscaler:
    """An `Upscaler` over a network of spandrel: one call is one forward pass.

    Networks for RGB, for one channel (each colour channel goes through on its own) and for RGB with alpha (made
    opaque) are supported.

    Attributes:
        name: as in `upscaler models list`, or the file's name.
        scale: factor by which it enlarges.
        halo: context in input pixels that a tile needs on each side.
        device, dtype: where it runs, and in which number format.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        halo: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
        exact: Callable[[], GanUpscaler] | None = None,
    ) -> None:
        """
        Args:
            network: moved to the device and converted, in place.
            exact: makes the same upscaler in float32, for a tile that overflows in a reduced precision.
        """
        self.name = name
        self.scale = network.scale
        self.halo = halo
        self.device = device
        self.dtype = dtype
        self.network = network
        self._layout = layout
        self._takes = torch.float32 if getattr(network, "takes_float32", False) else dtype
        self._make_exact, self._exact = exact, None
        self._turns = Turns()
        network.model.eval().requires_grad_(False)
        network.model.to(device=device, dtype=dtype, memory_format=layout)  # pyright: ignore[reportCallIssue]

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """`image` (H, W, 3) enlarged to (H * scale, W * scale, 3); float32 in [0, 1] both.

        A result that is not finite in a reduced precision is computed again in float32. A step is one layer of the
        network.

        Raises:
            OutOfMemory: the picture does not fit at once.
            WeightsError: the result is not finite in float32 either.
        """
        try:
            return self.forward(image, on_step=on_step)
        except NotFinite:
            if self._exact is None and self._make_exact is not None:
                self._exact = self._make_exact()
        if self._exact is not None:
            return self._exact(image, on_step=on_step)
        raise WeightsError(f"{self.name}: its output is not finite, even in float32; use another model")

    def forward(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """As a call, but without the second try.

        Raises:
            NotFinite: the result has a NaN or an infinity.
        """
        height, width = image.shape[:2]
        wide, high = max(width, SMALLEST), max(height, SMALLEST)
        more_x, more_y = self.network.size_requirements.get_padding(wide, high)
        top, left = (high + more_y - height) // 2, (wide + more_x - width) // 2
        bottom, right = high + more_y - height - top, wide + more_x - width - left
        padded = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="reflect")
        what = f"{self.name}: a picture of {width}x{height}"
        clear = memory_errors(self.device, what, "use smaller tiles")
        with self._turns.turn(), _watched(self.network, on_step), clear:
            batch = upload(padded, self.device).permute(2, 0, 1)[None].to(self._takes)
            result = download(self._run(batch)[0].permute(1, 2, 0).float())()
        top, left = top * self.scale, left * self.scale
        cropped = result[top : top + height * self.scale, left : left + width * self.scale]
        return np.ascontiguousarray(cropped)

    def _run(self, batch: torch.Tensor) -> torch.Tensor:
        """(1, 3, h, w) through a network of 1, 3 or 4 channels: (1, 3, h * scale, w * scale), in [0, 1]."""
        channels = self.network.input_channels
        if channels == 1:
            return torch.cat([self._network(batch[:, i : i + 1]) for i in range(3)], dim=1)
        if channels == 4:
            batch = torch.cat([batch, torch.ones_like(batch[:, :1])], dim=1)
        return self._network(batch)[:, :3]

    def _network(self, batch: torch.Tensor) -> torch.Tensor:
        return self.network(batch.contiguous(memory_format=self._layout))


@contextmanager
def _watched(network: Network, on_step: OnStep | None) -> Generator[None, None, None]:
    """Refuse what is not finite while the block runs, and call `on_step` after each layer with weights."""
    model = network.model
    times = 3 if network.input_channels == 1 else 1
    done = itertools.count(1)
    hook = model.register_forward_hook(_refuse_infinity)
    try:
        if on_step is None:
            yield
        elif isinstance(model, Compiled):
            with model.reporting(on_step):
                yield
        else:
            layers = layers_with_weights(model)
            total = len(layers) * times
            with after_each(layers, lambda: on_step(min(next(done), total), total)):
                yield
    finally:
        hook.remove()


class NotFinite(ArithmeticError):
    """A network's output has a NaN or an infinity."""


def _refuse_infinity(module: torch.nn.Module, inputs: Any, output: Any) -> None:
    """Forward hook: spandrel clamps to [0, 1] after it, which would make white pixels of infinities."""
    first = cast(torch.Tensor, output[0] if isinstance(output, tuple) else output)
    if not torch.isfinite(first).all():
        raise NotFinite
