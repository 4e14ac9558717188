"""What the host's sampler is called with: its models, its sampler with noise of the canvas, and its levels of noise."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch

from ....upscaler.models.base import tile_sides
from ....upscaler.options.settings import Sampling
from ....upscaler.tiling.grid import TileSides
from .conditioning import Conditioning
from .noise import CanvasNoise


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the host's sampler is called with.

    Attributes:
        custom_sampler: stands in for `sampler_name`.
        custom_sigmas: stand in for `scheduler`, and for strength and steps where these are `whole`; seams have their own.
        whole: strength and steps of the pass over the whole picture.
    """

    model: Any
    positive: Conditioning
    negative: Conditioning
    vae: Any
    cfg: float
    sampler_name: str
    scheduler: str
    custom_sampler: Any = None
    custom_sigmas: torch.Tensor | None = None
    whole: tuple[float, int] = (0.0, 0)

    @property
    def cell(self) -> int:
        """Pixels of a latent cell."""
        return int(self.vae.spacial_compression_encode())

    @property
    def multiple(self) -> int:
        """What the sides of a tile are multiples of: a latent cell, or the patch of cells that a transformer reads."""
        patch = getattr(self.model.get_model_object("diffusion_model"), "patch_size", None) or 1
        return self.cell * int(patch[-1] if isinstance(patch, (tuple, list)) else patch)

    @property
    def tile_sides(self) -> TileSides:
        """Which sides of a tile the model likes."""
        return tile_sides(native_tile(self.model))

    def sampler(self, noise: CanvasNoise) -> Any:
        """The host's sampler, with noise of the canvas for each step where it takes noise."""
        # the host's DDIM is Euler's method, but draws noise of its own under a noise mask, one for the whole batch
        name = "euler" if self.sampler_name == "ddim" else self.sampler_name
        sampler = self.custom_sampler or comfy.samplers.sampler_object(name)
        function = getattr(sampler, "sampler_function", None)
        if function is None or "noise_sampler" not in inspect.signature(function).parameters:
            return sampler
        options = {**sampler.extra_options, "noise_sampler": noise}
        return comfy.samplers.KSAMPLER(function, options, sampler.inpaint_options)

    def sigmas(self, sampling: Sampling) -> torch.Tensor:
        """The levels of noise of a pass, as KSampler takes them for these steps and this denoise."""
        if self.custom_sigmas is not None and (sampling.strength, sampling.steps) == self.whole:
            return self.custom_sigmas
        return comfy.samplers.KSampler(
            self.model,
            steps=sampling.steps,
            device=self.model.load_device,
            sampler=self.sampler_name,
            scheduler=self.scheduler,
            denoise=sampling.strength,
            model_options=self.model.model_options,
        ).sigmas


def native_tile(model: Any) -> int:
    """Side of the pictures that the model was trained on: 512 for SD 1.x, 768 for SD 2.x, 1024 for later ones."""
    return {768: 512, 1024: 768}.get(model.model.model_config.unet_config.get("context_dim"), 1024)
