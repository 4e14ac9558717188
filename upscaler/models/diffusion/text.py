"""Prompts for Stable Diffusion: CLIP text encoders of SD 1.x, 2.x (one) and SDXL (two)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch


class Prompt(NamedTuple):
    """What a UNet is told of a prompt: token states (1, tokens, width), and for SDXL their summary (1, width)."""

    states: torch.Tensor
    pooled: torch.Tensor | None


class TextEncoder:
    """Tokenizers and text encoders of one checkpoint."""

    def __init__(self, encoders: Sequence[tuple[Any, Any]], *, zeros_for_empty: bool = False) -> None:
        """
        Args:
            encoders: pairs of (tokenizer, text model): one for SD 1.x and 2.x, two for SDXL, its second for the refiner.
            zeros_for_empty: an empty negative prompt is all zeros (SDXL).
        """
        self._encoders = encoders
        self._sdxl = any(hasattr(model, "text_projection") for _, model in encoders)
        self._zeros_for_empty = zeros_for_empty

    @torch.inference_mode()
    def __call__(self, prompt: str, *, negative: bool = False) -> Prompt:
        """The encoded prompt; what is beyond the encoder's 77 tokens is cut off."""
        parts = [self._encode(tokenizer, model, prompt) for tokenizer, model in self._encoders]
        states = torch.cat([part.states for part in parts], dim=-1)
        pooled = parts[-1].pooled
        if negative and not prompt and self._zeros_for_empty:
            return Prompt(torch.zeros_like(states), None if pooled is None else torch.zeros_like(pooled))
        return Prompt(states, pooled)

    def _encode(self, tokenizer: Any, model: Any, prompt: str) -> Prompt:
        tokens = tokenizer(
            prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        mask = tokens.attention_mask.to(model.device) if getattr(model.config, "use_attention_mask", False) else None
        ids = tokens.input_ids.to(model.device)
        if not self._sdxl:
            return Prompt(model(ids, attention_mask=mask)[0], None)
        # SDXL: the states before the last layer of each encoder, and the projected summary of the second
        result = model(ids, attention_mask=mask, output_hidden_states=True)
        return Prompt(result.hidden_states[-2], result[0] if result[0].ndim == 2 else None)
