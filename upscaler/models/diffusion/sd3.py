"""Stable Diffusion 3 and 3.5: a transformer over latents, told of the prompt by two CLIP encoders and, where it is there, T5."""

from __future__ import annotations

import torch
from torch.nn import functional

from ...options.settings import Sampling
from .flow import FlowRefiner
from .flow_parts import FlowParts, TextModel
from .habits import FAMILIES
from .text import Prompt

_T5_TOKENS = 256


class Sd3(FlowRefiner):
    """A `Refiner` over SD 3 or 3.5, with classifier-free guidance."""

    def _velocity(
        self, sample: torch.Tensor, timestep: torch.Tensor, prompt: Prompt, sampling: Sampling
    ) -> torch.Tensor:
        return self._parts.unet(sample, prompt.states, prompt.pooled, timestep.to(sample.dtype), return_dict=False)[0]


class _Text:
    """States of both CLIP encoders side by side, then those of T5, or zeros without it; and the summaries of the first two."""

    def __init__(self, clips: list[TextModel], t5: TextModel | None, width: int) -> None:
        self._clips, self._t5, self._width = clips, t5, width
        self.networks = [part.network for part in (*clips, t5) if part is not None]

    @torch.inference_mode()
    def __call__(self, prompt: str, *, negative: bool = False) -> Prompt:
        results = [clip(prompt) for clip in self._clips]
        clip = torch.cat([result.hidden_states[-2] for result in results], dim=-1)
        clip = functional.pad(clip, (0, self._width - clip.shape[-1]))
        t5 = clip.new_zeros(1, _T5_TOKENS, self._width) if self._t5 is None else self._t5(prompt, _T5_TOKENS)[0]
        pooled = torch.cat([result.text_embeds for result in results], dim=-1)
        return Prompt(torch.cat([clip, t5.to(clip)], dim=1), pooled)


def load(parts: FlowParts) -> Sd3:
    """The model that these are the parts of."""
    from diffusers import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection, T5EncoderModel

    network = parts.transformer(SD3Transformer2DModel)
    clips = [parts.text(CLIPTextModelWithProjection, suffix) for suffix in ("", "_2")]
    t5 = parts.text(T5EncoderModel, "_3") if parts.has_text("_3") else None
    text = _Text(clips, t5, int(network.config["joint_attention_dim"]))
    return Sd3(network, text, parts, FAMILIES["StableDiffusion3Pipeline"])
