"""Flux.1: a transformer over packed latents, told of the prompt by T5 and a summary by CLIP."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from ...options.settings import Sampling
from .flow import FlowRefiner
from .flow_parts import FlowParts, TextModel
from .habits import FAMILIES
from .text import Prompt

_T5_TOKENS = {True: 512, False: 256}  # of dev, which takes guidance, and of schnell


class Flux(FlowRefiner):
    """A `Refiner` over Flux.1 dev or schnell. Guidance is an input of dev's network, and costs no second evaluation."""

    guided = False

    def _velocity(
        self, sample: torch.Tensor, timestep: torch.Tensor, prompt: Prompt, sampling: Sampling
    ) -> torch.Tensor:
        network: Any = self._parts.unet
        rows, columns = (side // 2 for side in sample.shape[-2:])
        guidance = None
        if network.config["guidance_embeds"]:
            guidance = torch.full_like(timestep, sampling.guidance)
        packed = network(
            functional.pixel_unshuffle(sample, 2).flatten(2).transpose(1, 2),  # (B, patches, 4 C), channel by channel
            prompt.states,
            prompt.pooled,
            (timestep / 1000).to(sample.dtype),
            img_ids=_places(rows, columns).to(sample),
            txt_ids=sample.new_zeros(prompt.states.shape[1], 3),
            guidance=guidance,
            return_dict=False,
        )[0]
        return functional.pixel_shuffle(packed.transpose(1, 2).unflatten(2, (rows, columns)), 2)


def _places(rows: int, columns: int) -> torch.Tensor:
    """Where each patch lies: (rows * columns, 3), of which the first is not used."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(y), y, x], dim=-1).view(-1, 3).float()


class _Text:
    """States of T5, and CLIP's summary."""

    def __init__(self, clip: TextModel, t5: TextModel, tokens: int) -> None:
        self._clip, self._t5, self._tokens = clip, t5, tokens
        self.networks = [clip.network, t5.network]

    @torch.inference_mode()
    def __call__(self, prompt: str, *, negative: bool = False) -> Prompt:
        return Prompt(self._t5(prompt, self._tokens)[0], self._clip(prompt).pooler_output)


def load(parts: FlowParts) -> Flux:
    """The model that these are the parts of."""
    from diffusers import FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    network = parts.transformer(FluxTransformer2DModel)
    tokens = _T5_TOKENS[bool(network.config["guidance_embeds"])]
    text = _Text(parts.text(CLIPTextModel, ""), parts.text(T5EncoderModel, "_2"), tokens)
    return Flux(network, text, parts, FAMILIES["FluxPipeline"])
