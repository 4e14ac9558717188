"""Pixels to latents and back, with one call for every kind of autoencoder."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ..device import convert


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


class VaeCodec:
    """diffusers' `AutoencoderKL` (the mean of its posterior, so nothing is random) or `AutoencoderTiny`."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.factor = 2 ** (len(vae.config.get("block_out_channels", vae.config.get("encoder_block_out_channels"))) - 1)
        self.latent_channels = int(vae.config["latent_channels"])
        self._scale = float(vae.config.get("scaling_factor") or 1.0)
        self._shift = float(vae.config.get("shift_factor") or 0.0)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        coded = self._vae.encode(image.to(self._vae.dtype))
        latents = coded.latent_dist.mode() if hasattr(coded, "latent_dist") else coded.latents
        return (latents.float() - self._shift) * self._scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self._vae.decode((latents / self._scale + self._shift).to(self._vae.dtype)).sample.float()

    @property
    def network(self) -> Any:
        """The autoencoder itself."""
        return self._vae

    def to(self, dtype: torch.dtype) -> VaeCodec:
        convert(self._vae, dtype)
        return self
