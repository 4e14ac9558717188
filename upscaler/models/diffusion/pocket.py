"""The bundled diffusion model: a codec that needs no training, and a small network that corrects a picture's latents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

from ...folders import read_json

_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
"""Brightness, red against blue, green against both: orthogonal, so that white noise stays white."""

_LEVELS = (1, 2, 3, 4)


class HaarCodec(nn.Module):
    """Pixels to latents and back without loss: an orthonormal Haar wavelet packet of three levels.

    A cell of 8x8 pixels becomes 192 latents, 64 bands (ordered by sequency) of each of brightness and two colour differences.
    The transform is orthonormal, so distances and white noise mean the same on both sides.

    Attributes:
        factor: pixels per latent cell.
        latent_channels: 192.
    """

    matrix: torch.Tensor

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        self.factor = 2**levels
        self.latent_channels = 3 * self.factor**2
        line = torch.ones(1, 1)
        for _ in range(levels):
            line = torch.cat([torch.kron(line, torch.tensor([1.0, 1.0])), torch.kron(line, torch.tensor([1.0, -1.0]))])
        line = line[(line.diff(dim=1) != 0).sum(dim=1).argsort()] / self.factor**0.5
        colours = functional.normalize(torch.tensor(_COLOURS))
        self.register_buffer("matrix", torch.kron(colours, torch.kron(line, line)), persistent=False)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, 192, H / 8, W / 8); H and W multiples of 8."""
        pixels = functional.pixel_unshuffle(image.to(self.matrix), self.factor)
        return torch.einsum("oc,bchw->bohw", self.matrix, pixels)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`."""
        pixels = torch.einsum("oc,bohw->bchw", self.matrix, latents.to(self.matrix))
        return functional.pixel_shuffle(pixels, self.factor)

    def save_pretrained(self, folder: Path) -> None:
        """Write what `from_pretrained` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        levels = self.factor.bit_length() - 1
        text = json.dumps({"_class_name": type(self).__name__, "levels": levels}, indent=2)
        (folder / "config.json").write_text(text + "\n", "utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path) -> HaarCodec:
        """The codec described by config.json of that folder.

        Raises:
            OSError, ValueError, KeyError: there is no such description.
        """
        levels = read_json(Path(folder) / "config.json")["levels"]
        if levels not in _LEVELS:  # each of them makes the matrix four times as wide and four times as high
            raise ValueError(f"levels {levels!r:.40} is not one of {', '.join(map(str, _LEVELS))}")
        return cls(levels)


class PocketUNet(ModelMixin, ConfigMixin):
    """Latents of a photograph, from noised latents and those of the picture that is to be refined.

    A flat stack of residual blocks. It predicts the correction to the picture. Nothing in it knows the place in the
    tile or sums over the tile, so tiles agree where they overlap.

    Args:
        in_channels: of noised and base latents together.
        out_channels: of latents.
        block_out_channels: width of each block.
        sigma_end: noise of the last timestep in units of the latents, linear in time.
        full_strength: below this strength its correction, which is whole at any noise, is to be faded in.
    """

    to: Any = nn.Module.to  # that of diffusers (0.42) warns whenever the precision changes
    base_scale: torch.Tensor
    correction_scale: torch.Tensor

    @register_to_config
    def __init__(
        self,
        in_channels: int = 384,
        out_channels: int = 192,
        block_out_channels: tuple[int, ...] = (256,) * 8,
        sigma_end: float = 0.4,
        num_train_timesteps: int = 1000,
        full_strength: float = 0.29,
    ) -> None:
        super().__init__()
        width = block_out_channels[0]
        self.register_buffer("base_scale", torch.ones(1, out_channels, 1, 1))
        self.register_buffer("correction_scale", torch.ones(1, out_channels, 1, 1))
        self.embed_time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, width) for _ in block_out_channels)
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor | int, base: torch.Tensor) -> torch.Tensor:
        """The clean latents (B, C, h, w), float32.

        Args:
            sample: (B, C, h, w) noised latents.
            timestep: one, or (B,).
            base: (B, C, h, w) latents of the picture that is refined.
        """
        dtype = self.conv_in.weight.dtype
        config: Any = self.config
        time = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        sigma = (config.sigma_end / config.num_train_timesteps * (time.float() + 1)).view(-1, 1, 1, 1)
        sample, base = sample.float(), base.float()
        deviation = (sample * (1 + sigma**2).sqrt() - base) / (sigma**2 + self.correction_scale.float() ** 2).sqrt()
        inputs = torch.cat([deviation, base / self.base_scale.float()], dim=1).to(dtype)
        embedding = self.embed_time(get_timestep_embedding(time, 128).to(dtype))
        hidden = self.conv_in(inputs.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return base + self.conv_out(_normalised(hidden)).float() * self.correction_scale.float()


class _Block(nn.Module):
    """Two convolutions on top of the normalised input; the noise level scales and shifts what is between them."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.modulate.weight)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.conv1(_normalised(hidden))
        return hidden + self.conv2(functional.silu(inner * (1 + scale) + shift))


def _normalised(hidden: torch.Tensor) -> torch.Tensor:
    """Each cell by itself divided by its root mean square over the channels."""
    return hidden * hidden.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
