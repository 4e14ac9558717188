"""OSEDiff: the enlarged picture's latents are taken for those of the last timestep, and its noise is removed at once.

Source: Wu et al. 2024, "One-Step Effective Diffusion Network for Real-World Image Super-Resolution", eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler

from ...options.settings import Sampling
from .components import Components
from .habits import ONE_STEP
from .low_rank import changes, merge
from .one_step import OneStepRefiner
from .published import Published
from .sampling import SCHEDULE

_TIMESTEP = 999
_REPLACED = ("weight", "bias")  # of conv_in, which was trained as a whole beside its low-rank change


class OseDiff(OneStepRefiner):
    """OSEDiff. A `strength` below 1 fades its result into the enlarged picture, in latents."""

    def __init__(
        self, parts: Components, published: Published, *, device: torch.device, dtype: torch.dtype, name: str
    ) -> None:
        """Raises: ValueError: the base is another network."""
        super().__init__(parts, ONE_STEP["osediff"], device=device, dtype=dtype, name=name)
        config = {key: value for key, value in parts.scheduler.items() if key in SCHEDULE}
        scheduler: DDPMScheduler = DDPMScheduler.from_config(config)  # pyright: ignore[reportAssignmentType]
        if len(scheduler.alphas_cumprod) <= _TIMESTEP:
            raise ValueError(f"it has {len(scheduler.alphas_cumprod)} timesteps")
        self._alpha = float(scheduler.alphas_cumprod[_TIMESTEP])
        for key in _REPLACED:
            ours = getattr(parts.unet.conv_in, key)
            trained = published.unet.get(f"conv_in.base_layer.{key}")
            if trained is None or trained.shape != ours.shape:
                raise ValueError("the base has another shape at conv_in")
            ours.copy_(trained)
        merge(parts.unet, changes(published.unet))
        codec: Any = parts.codec
        if published.vae:
            merge(codec.network, changes(published.vae))

    def _clean(self, base: torch.Tensor, sampling: Sampling, evaluate: Callable[[int], torch.Tensor]) -> torch.Tensor:
        noise = evaluate(_TIMESTEP)
        clean = (base - (1 - self._alpha) ** 0.5 * noise) / self._alpha**0.5
        return torch.lerp(base, clean, sampling.strength)
