"""PiSA-SR: one change to the UNet that mends what a pixel shows, and one on top that adds what such pictures look like.

Source: Sun et al. 2025, "Pixel-level and Semantic-level Adjustable Super-resolution", eq. 6 and 8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...options.settings import Sampling
from .components import Components
from .habits import ONE_STEP
from .low_rank import Switch, changes, merge
from .one_step import OneStepRefiner
from .published import Published

_TIMESTEP = 1


class PisaSr(OneStepRefiner):
    """PiSA-SR. `strength` weighs the semantic part, `control_scale` the pixel part; 1 and 1 are as it was trained."""

    def __init__(
        self, parts: Components, published: Published, *, device: torch.device, dtype: torch.dtype, name: str
    ) -> None:
        """Raises: ValueError: the base is another network."""
        super().__init__(parts, ONE_STEP["pisa-sr"], device=device, dtype=dtype, name=name)
        merge(parts.unet, changes(published.unet, ending="_pix"))
        self._semantic = Switch(parts.unet, changes(published.unet, ending="_sem"))

    def _clean(self, base: torch.Tensor, sampling: Sampling, evaluate: Callable[[int], torch.Tensor]) -> torch.Tensor:
        pixel, semantic = sampling.control_scale, sampling.strength
        both = evaluate(_TIMESTEP)
        if pixel == semantic:
            return base - pixel * both
        self._semantic.on = False
        try:
            alone = evaluate(_TIMESTEP)
        finally:
            self._semantic.on = True
        return base - (pixel * alone + semantic * (both - alone))
