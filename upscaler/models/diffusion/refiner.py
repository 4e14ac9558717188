"""The diffusion stage: img2img on batches of tiles, over the parts of a latent diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...arrays.types import Image
from ...geometry import Box, Size
from ...options.settings import Sampling
from ...tiling.noise import field
from ..base import OnStep, tile_sides
from ..device import convert, free_memory, memory_errors
from .codec import Codec
from .sampling import Sampler
from .text import Prompt, TextEncoder

_LARGEST_BATCH = 16
_FEATURE_MAPS = 60  # full resolution feature maps of the first level's width that a UNet evaluation holds at its peak
_CONTROL_MAPS = 14  # of these, what a ControlNet hands over
_DECODER_BYTES = 4 * 256 * 4  # per pixel: four float32 maps of 256 channels, the peak of the SD decoder


@dataclass(frozen=True)
class Components:
    """The parts of a latent diffusion model.

    Attributes:
        unet: `unet(sample, timestep, encoder_hidden_states=...)`; or `unet(sample, timestep, base, strength)` where the model
            is conditioned on the latents of the picture it refines, and gives float32.
        codec: pixels to latents and back.
        scheduler: config of the model's own scheduler.
        text: `None` for a model that takes no prompt.
        conditioned: which of the two calls.
        control: `control(sample, timestep, encoder_hidden_states=..., controlnet_cond=pixels)`, a ControlNet for this
            UNet whose hint is the picture itself; `None` without one.
        full_strength: a conditioned model mends the picture however little noise there is, so below this strength what
            it changed is faded in, down to nothing at 0.
    """

    unet: Any
    codec: Codec
    scheduler: dict[str, Any]
    text: TextEncoder | None
    conditioned: bool
    control: Any = None
    full_strength: float = 0.0


class DiffusionRefiner:
    """A `Refiner` over a latent diffusion model: a tile's result is a function of tile, box, sampling and seed."""

    def __init__(self, parts: Components, *, device: torch.device, dtype: torch.dtype, name: str) -> None:
        self.name = name
        self.multiple = parts.codec.factor
        self._parts = parts
        self._device = device
        self._dtype = dtype
        native = parts.unet.config.get("sample_size")
        self.tile_sides = tile_sides(native * self.multiple if isinstance(native, int) else None)
        self._encoded: Callable[[str, bool], Prompt] = lru_cache(maxsize=8)(self._encode)

    @property
    def takes_prompt(self) -> bool:
        """Whether a prompt makes any difference."""
        return self._parts.text is not None

    def batch_size(self, tile: Size) -> int:
        """See `Refiner`; on a CPU one tile at a time is as fast as many."""
        width = int(self._parts.unet.config.get("block_out_channels", (320,))[0])
        cells = tile.width * tile.height / self.multiple**2
        maps = _FEATURE_MAPS + (_CONTROL_MAPS if self._parts.control is not None else 0)
        each = cells * width * maps * torch.finfo(self._dtype).bits // 8
        free = free_memory(self._device) * 0.8 - tile.width * tile.height * _DECODER_BYTES
        largest = 1 if self._device.type == "cpu" else _LARGEST_BATCH
        return int(min(max(free, 0) // each, largest))

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """See `Refiner`. Reduced precision that ends in NaN or infinity is tried again in float32, tile by tile."""
        if sampling.strength == 0:
            return [tile.copy() for tile in tiles]
        height, width = tiles[0].shape[:2]
        with memory_errors(self._device, f"a batch of {len(tiles)} tiles of {width}x{height} px", "use smaller tiles"):
            refined = self._refine(tiles, boxes, sampling, seed, on_step)
            broken = [index for index, tile in enumerate(refined) if not np.isfinite(tile).all()]
            if broken and self._dtype != torch.float32:
                with self._in_float32():
                    for index in broken:
                        (refined[index],) = self._refine([tiles[index]], [boxes[index]], sampling, seed, on_step)
            return refined

    @contextmanager
    def _in_float32(self) -> Generator[None, None, None]:
        """Evaluate in float32 for a while. An autoencoder that overflowed once would again: it stays in float32."""
        reduced = self._dtype
        networks = [network for network in (self._parts.unet, self._parts.control) if network is not None]
        try:
            self._parts.codec.to(torch.float32)
            for network in networks:
                convert(network, torch.float32)
            self._dtype = torch.float32
            yield
        finally:
            self._dtype = reduced
            for network in networks:
                convert(network, reduced)

    @torch.inference_mode()
    def _refine(
        self, tiles: Sequence[Image], boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        codec = self._parts.codec
        pixels = [self._tensor(tile) for tile in tiles]
        base = torch.cat([codec.encode(tile) for tile in pixels])
        cells = [Box(*(side // self.multiple for side in box)) for box in boxes]

        def noise(stream: int) -> torch.Tensor:
            fields = [field(seed, stream, box, codec.latent_channels) for box in cells]
            return torch.from_numpy(np.stack(fields)).to(self._device)

        sampler = Sampler(
            sampling.scheduler,
            self._parts.scheduler,
            strength=sampling.strength,
            steps=sampling.steps,
            device=self._device,
        )
        predict = self._predictor(sampling, base, torch.cat(pixels))
        sample = sampler.start(base, noise(0))
        for index, timestep in enumerate(sampler.timesteps):
            output = predict(sampler.scale(sample, timestep), timestep)
            sample = sampler.step(output, timestep, sample, noise(index + 1) if sampler.stochastic else None)
            on_step(index + 1, len(sampler.timesteps))
        if sampling.strength < self._parts.full_strength:
            sample = torch.lerp(base, sample, sampling.strength / self._parts.full_strength)
        return [self._image(codec.decode(latents[None])) for latents in sample]

    def _predictor(
        self, sampling: Sampling, base: torch.Tensor, pixels: torch.Tensor
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """(sample, timestep) -> the network's output in float32, guided by the prompts where there are any."""
        unet, text, control = self._parts.unet, self._parts.text, self._parts.control
        if self._parts.conditioned:
            return lambda sample, timestep: unet(sample, timestep, base, sampling.strength)
        assert text is not None
        prompts = [self._encoded(sampling.prompt, False)]
        if sampling.guidance > 1:
            prompts.append(self._encoded(sampling.negative_prompt, True))
        states = torch.cat([prompt.states.expand(len(base), -1, -1) for prompt in prompts]).to(self._dtype)
        added = None
        if prompts[0].pooled is not None:
            pooled = torch.cat([prompt.pooled.expand(len(base), -1) for prompt in prompts if prompt.pooled is not None])
            # size before cropping, crop, size: each tile is told to be a whole picture
            height, width = pixels.shape[-2:]
            ids = torch.tensor([[height, width, 0, 0, height, width]], device=self._device)
            added = {"text_embeds": pooled.to(self._dtype), "time_ids": ids.expand(len(pooled), -1).to(self._dtype)}

        prompted = {"encoder_hidden_states": states, "added_cond_kwargs": added}
        hint = ((pixels + 1) / 2).to(self._dtype).repeat(len(prompts), 1, 1, 1)

        def residuals(inputs: torch.Tensor, timestep: torch.Tensor) -> dict[str, Any]:
            """What the ControlNet adds to the UNet's skip connections and to its middle."""
            if control is None or sampling.control_scale == 0:
                return {}
            scale = sampling.control_scale
            down, middle = control(
                inputs, timestep, controlnet_cond=hint, conditioning_scale=scale, return_dict=False, **prompted
            )
            return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

        def predict(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            inputs = sample.to(self._dtype).repeat(len(prompts), 1, 1, 1)
            output = unet(inputs, timestep, **prompted, **residuals(inputs, timestep)).sample.float()
            if len(prompts) == 1:
                return output
            wanted, unwanted = output.chunk(2)
            return unwanted + sampling.guidance * (wanted - unwanted)

        return predict

    def _encode(self, prompt: str, negative: bool) -> Prompt:
        assert self._parts.text is not None
        return self._parts.text(prompt, negative=negative)

    def _tensor(self, tile: Image) -> torch.Tensor:
        return torch.from_numpy(tile).permute(2, 0, 1)[None].to(self._device) * 2 - 1

    def _image(self, pixels: torch.Tensor) -> Image:
        pixels = torch.where(pixels.isfinite(), pixels, torch.nan)  # clamping would hide infinity
        image = (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        return np.ascontiguousarray(image.float().cpu().numpy())
