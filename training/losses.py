"""What the network is trained for: small errors, edges as sharp as the photograph's, and texture as strong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

_LUMA = (0.299, 0.587, 0.114)


@dataclass
class Losses:
    """Each (B,), in units of 1/255 of the pixels."""

    error: torch.Tensor
    edges: torch.Tensor
    texture: torch.Tensor
    grid: torch.Tensor


def losses(result: torch.Tensor, photo: torch.Tensor) -> Losses:
    """How far (B, 3, H, W) is from the photograph, both in [-1, 1].

    error: the mean absolute difference, smooth below 1/255.
    edges: the mean difference of the length of the gradient (Prewitt on 2x2 means, as GMSD has it, and at full size).
    texture: the mean difference of the local strength (mean size over 16 px) of three bands of detail. Not their root
        mean square: that is had most cheaply by one bright dot in every cell.
    grid: what the difference has in common at one place of every cell of 8x8 pixels, root mean square over the places.
    """
    result, photo = result * 127.5, photo * 127.5
    error = ((result - photo).square() + 1).sqrt().mean(dim=(1, 2, 3)) - 1
    weights = torch.tensor(_LUMA, device=result.device).view(1, 3, 1, 1)
    luma, true = (result * weights).sum(1, keepdim=True), (photo * weights).sum(1, keepdim=True)
    edges = (_gradient(luma) - _gradient(true)).abs().mean(dim=(1, 2, 3))
    half, half_true = functional.avg_pool2d(luma, 2), functional.avg_pool2d(true, 2)
    edges = edges + (_gradient(half) - _gradient(half_true)).abs().mean(dim=(1, 2, 3))
    texture = torch.zeros_like(error)
    for band, band_true in zip(_bands(luma), _bands(true)):
        texture = texture + (_strength(band) - _strength(band_true)).abs().mean(dim=(1, 2, 3))
    places = functional.pixel_unshuffle(result - photo, 8).mean(dim=(2, 3)).unflatten(1, (3, 64))
    grid = ((places - places.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2)) + 0.01).sqrt()
    return Losses(error, edges, texture, grid)


def _gradient(luma: torch.Tensor) -> torch.Tensor:
    line = torch.tensor([1.0, 0.0, -1.0], device=luma.device) / 3
    kernel = torch.stack([line.expand(3, 3), line.expand(3, 3).T])[:, None]
    return functional.conv2d(luma, kernel).square().sum(1, keepdim=True).add(1).sqrt()


def _bands(luma: torch.Tensor) -> list[torch.Tensor]:
    blurred = [luma, *(blur(luma, sigma) for sigma in (0.8, 1.5, 3.0))]
    return [fine - coarse for fine, coarse in zip(blurred, blurred[1:])]


def local_strengths(picture: torch.Tensor) -> list[torch.Tensor]:
    """Of three bands of detail of (B, 3, H, W) in [-1, 1]: their mean size over 16 px, in 1/255."""
    weights = torch.tensor(_LUMA, device=picture.device).view(1, 3, 1, 1)
    return [_strength(band) for band in _bands((picture * 127.5 * weights).sum(1, keepdim=True))]


def blur(luma: torch.Tensor, sigma: float) -> torch.Tensor:
    """(B, 1, H, W) blurred by a Gaussian; the border is mirrored."""
    radius = round(3 * sigma)
    line = torch.exp(-torch.arange(-radius, radius + 1, device=luma.device).float().square() / (2 * sigma**2))
    line = line / line.sum()
    padded = functional.pad(luma, (radius,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))


def _strength(band: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(band.square().add(0.25).sqrt(), 16, stride=8)
