"""The network of the bundled diffusion model, which corrects a picture's latents; they are those of `haar`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from ...folders import read_json
from .haar import packet
from .validate import check_depth, refuse_missing

_SIDE = 8  # pixels of a cell, where there is detail
_STRONGEST = 1.2  # detail against the contrast around it; nine in ten pixels have less than half of that
_GUIDES = 16  # feature maps of the first stack at half the picture's resolution
_WEIGHTS = "diffusion_pytorch_model.safetensors"


class PocketUNet(nn.Module):
    """Latents of a photograph, from noised latents and those of the picture that is to be refined.

    A flat stack of residual blocks predicts the correction to the picture, which is the photograph's mean, and so too
    soft. A second, thin stack at half the picture's resolution adds detail of brightness to it: "calm" detail, which is
    always added, and "rich" detail, which the strength scales. Nothing in it knows the place in the tile or sums over
    the tile, so tiles agree where they overlap.

    Args:
        in_channels: of noised and base latents together.
        out_channels: of latents.
        block_out_channels: width of each block.
        sigma_end: noise of the last timestep in units of the latents, linear in time.
        full_strength: below this strength its correction, which is whole at any noise, is to be faded in; above it, up
            to 1, the rich detail is.
        detail_width: of the second stack; 0 is none.
        detail_layers: its convolutions, beside the first and the last.

    Attributes:
        config: the arguments that it was made with.
    """

    base_scale: torch.Tensor
    correction_scale: torch.Tensor

    def __init__(
        self,
        in_channels: int = 384,
        out_channels: int = 192,
        block_out_channels: tuple[int, ...] = (256,) * 8,
        sigma_end: float = 0.4,
        num_train_timesteps: int = 1000,
        full_strength: float = 0.29,
        detail_width: int = 0,
        detail_layers: int = 3,
    ) -> None:
        super().__init__()
        self.config: Mapping[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "block_out_channels": tuple(block_out_channels),
            "sigma_end": sigma_end,
            "num_train_timesteps": num_train_timesteps,
            "full_strength": full_strength,
            "detail_width": detail_width,
            "detail_layers": detail_layers,
        }
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
        self.detail = _Detail(width, detail_width, detail_layers) if detail_width else None

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, base: torch.Tensor, strength: float = 0.0
    ) -> torch.Tensor:
        """The clean latents (B, C, h, w), float32.

        Args:
            sample: (B, C, h, w) noised latents.
            timestep: one, or (B,).
            base: (B, C, h, w) latents of the picture that is refined.
            strength: of the whole refinement, 0 to 1; see `rich_share`.
        """
        mean, hidden, noise = self.estimate(sample, timestep, base)
        if self.detail is None:
            return mean
        calm, rich = self.detail(mean, base, noise, hidden)
        planes = _SIDE**2
        drawn = _within(calm + self.rich_share(strength) * rich, self.detail.plane(base[:, :planes].float()))
        mean[:, :planes] += self.detail.latents(drawn)
        return mean

    def rich_share(self, strength: float) -> float:
        """How much of the rich detail belongs to a strength: 0 up to the full strength, 1 at 1, linear between."""
        full: float = self.config["full_strength"]
        return min(max((strength - full) / (1 - full), 0.0), 1.0)

    def estimate(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, base: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the first stack makes of the arguments of `forward`.

        Returns:
            the latents without the detail, float32; the features they are made of, (B, width, h, w); and what of the
            sample is not the base's, (B, C, h, w) with a variance of about 1.
        """
        dtype = self.conv_in.weight.dtype
        config = self.config
        time = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        sigma = (config["sigma_end"] / config["num_train_timesteps"] * (time.float() + 1)).view(-1, 1, 1, 1)
        sample, base = sample.float(), base.float()
        deviation = (sample * (1 + sigma**2).sqrt() - base) / (sigma**2 + self.correction_scale.float() ** 2).sqrt()
        inputs = torch.cat([deviation, base / self.base_scale.float()], dim=1).to(dtype)
        embedding = self.embed_time(_embed(time).to(dtype))
        hidden = self.conv_in(inputs.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        hidden = _normalised(hidden)
        return base + self.conv_out(hidden).float() * self.correction_scale.float(), hidden, deviation

    def save_pretrained(self, folder: Path) -> None:
        """Write what `from_pretrained` reads, with the names that diffusers gives to such files."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {"_class_name": type(self).__name__, **self.config}
        (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
        save_file(self.state_dict(), folder / _WEIGHTS, {"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: Path, dtype: torch.dtype = torch.float32) -> PocketUNet:
        """The network in that folder. It is no class of diffusers, whose loader brings transformers and two seconds.

        Raises:
            UnsupportedModel: weights are missing.
            OSError, ValueError, RuntimeError, and more: the files do not describe such a network.
        """
        check_depth(folder)
        described = read_json(folder / "config.json")
        network = cls(**{name: value for name, value in described.items() if not name.startswith("_")})
        told = network.load_state_dict(load_file(folder / _WEIGHTS), strict=False)
        refuse_missing(folder, told.missing_keys)
        return network.to(dtype).eval()


def _embed(time: torch.Tensor) -> torch.Tensor:
    """(B,) timesteps to (B, 128): sines and cosines (Vaswani et al. 2017) of 64 frequencies from 1 to 1 / 10000."""
    rates = torch.exp(-math.log(10000) * torch.arange(64, dtype=torch.float32, device=time.device) / 63)
    angles = time[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


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


class _Detail(nn.Module):
    """Detail of brightness at full resolution, from what surrounds each pixel and from the features of its cell.

    It works on squares of 2x2 pixels, so cells of 8x8 pixels leave no trace in it. It sees the mean estimate and the base
    without their low frequencies, and so not how bright a place is; noise, that it may draw from; and features.
    """

    packet: torch.Tensor

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("packet", packet(_SIDE.bit_length() - 1))
        self.guide = nn.Conv2d(features, _GUIDES * (_SIDE // 2) ** 2, 1)
        self.conv_in = nn.Conv2d(3 * 4 + _GUIDES, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(layers))
        self.conv_out = nn.Conv2d(width, 2 * 4, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def forward(
        self, mean: torch.Tensor, base: torch.Tensor, noise: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The calm and the rich detail, each (B, 1, H, W) of brightness, float32; arguments as `estimate` gives them."""
        mean, base, noise = (self.plane(part[:, : _SIDE**2].float()) for part in (mean, base, noise))
        return self.draw(mean, base, noise, hidden)

    def draw(
        self, mean: torch.Tensor, base: torch.Tensor, noise: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from brightness (B, 1, H, W)."""
        seen = torch.cat([high_pass(mean) * 8, (base - mean) * 16, noise], dim=1)
        inputs = [
            functional.pixel_unshuffle(seen, 2).to(hidden.dtype),
            functional.pixel_shuffle(self.guide(hidden), _SIDE // 2),
        ]
        maps = self.conv_in(torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            maps = maps + layer(functional.silu(maps))
        drawn = _smooth(functional.pixel_shuffle(self.conv_out(functional.silu(maps)).float(), 2)) / 16
        return drawn[:, :1], drawn[:, 1:]

    def plane(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, 64, h, w) latents of brightness to its pixels (B, 1, H, W)."""
        return functional.pixel_shuffle(torch.einsum("oc,bohw->bchw", self.packet.float(), latents), _SIDE)

    def latents(self, plane: torch.Tensor) -> torch.Tensor:
        """The inverse of `plane`."""
        return torch.einsum("oc,bchw->bohw", self.packet.float(), functional.pixel_unshuffle(plane, _SIDE))


def high_pass(plane: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) less its mean over 9x9 pixels."""
    low = plane
    for kernel, padding in (((1, 9), (0, 4)), ((9, 1), (4, 0))):
        low = functional.avg_pool2d(low, kernel, stride=1, padding=padding, count_include_pad=False)
    return plane - low


def _within(detail: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Detail no stronger than `_STRONGEST` times the contrast that the base (B, 1, H, W) has around it: a place that is soft
    gets no specks. What is well below that stays as it is."""
    contrast = functional.avg_pool2d(high_pass(base).square(), 9, stride=1, padding=4, count_include_pad=False)
    limit = _STRONGEST**2 * contrast
    return detail * (limit / (limit + detail.square()).clamp(min=1e-12)).sqrt()


def _smooth(planes: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) without the highest frequency, by (1, 2, 1) / 4 along both axes: a mesh of 2x2 pixels cannot be drawn."""
    padded = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def _normalised(hidden: torch.Tensor) -> torch.Tensor:
    """Each cell by itself divided by its root mean square over the channels."""
    return hidden * hidden.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
