"""Prompts for Stable Diffusion: CLIP text encoders of SD 1.x, 2.x (one) and SDXL (two)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from .prompts import BREAK, pieces


class Prompt(NamedTuple):
    """What a UNet is told of a prompt: token states (1, tokens, width), and for SDXL their summary (1, width)."""

    states: torch.Tensor
    pooled: torch.Tensor | None


class _Chunk(NamedTuple):
    """As many tokens as an encoder takes at once, and the weight of each."""

    ids: list[int]
    weights: list[float]


class TextEncoder:
    """Tokenizers and text encoders of one checkpoint."""

    def __init__(
        self, encoders: Sequence[tuple[Any, Any]], *, zeros_for_empty: bool = False, clip_skip: int = 1
    ) -> None:
        """
        Args:
            encoders: pairs of (tokenizer, text model): one for SD 1.x and 2.x, two for SDXL, its second for the refiner.
            zeros_for_empty: an empty negative prompt is all zeros (SDXL).
            clip_skip: which layer's states are taken, 1 for the last one; SDXL takes the second from the end at least.
        """
        self._encoders = encoders
        self._sdxl = any(hasattr(model, "text_projection") for _, model in encoders)
        self._zeros_for_empty = zeros_for_empty
        self._layer = max(clip_skip, 2) if self._sdxl else clip_skip

    @torch.inference_mode()
    def __call__(self, prompt: str, *, negative: bool = False) -> Prompt:
        """The encoded prompt, with weights as in `prompts.pieces`; 77 states for each 75 tokens or part of them."""
        parts = self._encode(prompt)
        states = torch.cat([part.states for part in parts], dim=-1)
        pooled = parts[-1].pooled
        if negative and not prompt and self._zeros_for_empty:
            return Prompt(torch.zeros_like(states), None if pooled is None else torch.zeros_like(pooled))
        return Prompt(states, pooled)

    def _encode(self, prompt: str) -> list[Prompt]:
        """By each encoder. Where their tokenizers differ by a word of one alone, the shorter is filled up."""
        chunks = [_chunks(tokenizer, prompt) for tokenizer, _ in self._encoders]
        most = max(map(len, chunks))
        encoded: list[Prompt] = []
        for (tokenizer, model), own in zip(self._encoders, chunks):
            own += _chunks(tokenizer, "") * (most - len(own))
            parts = [self._encode_chunk(model, chunk) for chunk in own]
            encoded.append(Prompt(torch.cat([part.states for part in parts], dim=1), parts[0].pooled))
        return encoded

    def _encode_chunk(self, model: Any, chunk: _Chunk) -> Prompt:
        ids = torch.tensor([chunk.ids], device=model.device)
        result = model(ids, output_hidden_states=True)
        if self._sdxl:
            # the states before the last layer of each encoder, and the projected summary of the second
            states, pooled = result.hidden_states[-self._layer], result[0] if result[0].ndim == 2 else None
        elif self._layer == 1:
            states, pooled = result[0], None
        else:
            inner = getattr(model, "text_model", model)
            states, pooled = inner.final_layer_norm(result.hidden_states[-self._layer]), None
        return Prompt(_weighted(states, chunk.weights), pooled)


def padded(prompts: Sequence[Prompt], encode: Callable[[str], Prompt]) -> list[Prompt]:
    """The prompts with as many states each, filled up by those of an empty one, so that they make one batch."""
    longest = max(prompt.states.shape[1] for prompt in prompts)
    if all(prompt.states.shape[1] == longest for prompt in prompts):
        return list(prompts)
    empty = encode("").states
    filled: list[Prompt] = []
    for prompt in prompts:
        chunks = (longest - prompt.states.shape[1]) // empty.shape[1]
        filled.append(Prompt(torch.cat([prompt.states, *[empty] * chunks], dim=1), prompt.pooled))
    return filled


def _weighted(states: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """Each token's states times its weight, with the mean of all as it was."""
    if all(weight == 1 for weight in weights):
        return states
    weighted = states * torch.tensor(weights, dtype=states.dtype, device=states.device)[None, :, None]
    return weighted * (states.float().mean() / weighted.float().mean()).to(states.dtype)


def _chunks(tokenizer: Any, prompt: str) -> list[_Chunk]:
    """The prompt's tokens in chunks of as many as the encoder takes, each with marks of start and end."""
    inside = tokenizer.model_max_length - 2
    taught = _taught(tokenizer)
    chunks = [_Chunk([], [])]
    for piece in pieces(prompt):
        if piece == BREAK:
            chunks.append(_Chunk([], []))
            continue
        tokens = tokenizer(piece.text, add_special_tokens=False, verbose=False).input_ids
        for token in (each for word in tokens for each in taught.get(word, [word])):
            if len(chunks[-1].ids) == inside:
                chunks.append(_Chunk([], []))
            chunks[-1].ids.append(token)
            chunks[-1].weights.append(piece.weight)
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    full: list[_Chunk] = []
    for ids, weights in chunks:
        rest = inside - len(ids)
        full.append(_Chunk([start, *ids, end, *[pad] * rest], [1.0, *weights, 1.0, *[1.0] * rest]))
    return full


def _taught(tokenizer: Any) -> dict[int, list[int]]:
    """Words of textual inversion that have several vectors: the first one's token, and those of all.

    diffusers calls them word, word_1, word_2 and so on.
    """
    added: dict[str, int] = dict(tokenizer.added_tokens_encoder)
    tokens: dict[int, list[int]] = {}
    for word, first in added.items():
        more = [added[f"{word}_{index}"] for index in range(1, len(added)) if f"{word}_{index}" in added]
        if more:
            tokens[first] = [first, *more]
    return tokens
