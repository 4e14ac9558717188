"""What a latent diffusion model is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..base import USUAL, Habits
from .text import Prompt


class Codec(Protocol):
    """What a refiner asks of an autoencoder. Attributes: `factor`, pixels per latent cell; `latent_channels`."""

    factor: int
    latent_channels: int

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, latent_channels, H / factor, W / factor), scaled as the UNet wants it."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`, as far as there is one."""
        ...

    def to(self, dtype: torch.dtype) -> Any: ...


@dataclass(frozen=True)
class Components:
    """The parts of a latent diffusion model.

    Attributes:
        unet: the network. `unet(sample, timestep, encoder_hidden_states=...)`; or `unet(sample, timestep, base, strength)` where the model
            is conditioned on the latents of the picture it refines, and gives float32.
        codec: pixels to latents and back.
        scheduler: config of the model's own scheduler.
        text: `text(prompt, negative=...)`; `None` for a model that takes no prompt.
        conditioned: which of the two calls.
        control: `control(sample, timestep, encoder_hidden_states=..., controlnet_cond=pixels)`, a ControlNet for this
            UNet whose hint is the picture itself; `None` without one.
        full_strength: a conditioned model mends the picture however little noise there is, so below this strength what
            it changed is faded in, down to nothing at 0.
        fixed: the weights of its network are kept in a format of their own (float8, GGUF), and it cannot be raised to float32.
        aesthetic: it is told how beautiful the picture is instead of its size (the refiner of SDXL).
        habits: how it is used where the settings leave that open.
        about: family and format in a few words, to be told to the user; empty where there is nothing to tell.
    """

    unet: Any
    codec: Codec
    scheduler: dict[str, Any]
    text: Callable[..., Prompt] | None
    conditioned: bool
    control: Any = None
    full_strength: float = 0.0
    fixed: bool = False
    aesthetic: bool = False
    about: str = ""
    habits: Habits = USUAL
