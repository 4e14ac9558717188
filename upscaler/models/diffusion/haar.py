"""The codec of the bundled diffusion model, which needs no training: Haar wavelets."""

from __future__ import annotations

import json
from pathlib import Path

import torch
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
        colours = functional.normalize(torch.tensor(_COLOURS))
        self.register_buffer("matrix", torch.kron(colours, packet(levels)), persistent=False)

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


def packet(levels: int) -> torch.Tensor:
    """The Haar wavelet packet of a square of 2^levels pixels on a side: its bands by sequency times its pixels."""
    line = torch.ones(1, 1)
    for _ in range(levels):
        line = torch.cat([torch.kron(line, torch.tensor([1.0, 1.0])), torch.kron(line, torch.tensor([1.0, -1.0]))])
    line = line[(line.diff(dim=1) != 0).sum(dim=1).argsort()] / line.shape[1] ** 0.5
    return torch.kron(line, line)
