"""Pixels to latents and back: what the refiner asks of an autoencoder."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Codec(Protocol):
    """Attributes: `factor`, pixels per latent cell; `latent_channels`."""

    factor: int
    latent_channels: int

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, latent_channels, H / factor, W / factor), scaled as the UNet wants it."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`, as far as there is one."""
        ...

    def to(self, dtype: torch.dtype) -> Any: ...
