"""An ESRGAN network in half precision on a processor, whose result stays near that in float32.

What is summed through all blocks stays in float32, and so do the first and the last layer, where a value is a pixel's: half
precision has two or three hundred steps from black to white, which would show as its error. The last layers, whose maps are
sixteen times as large as those before, run in pieces that stay in the cache: memory would be what they wait for.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..doubled import Doubled
from .architectures import ESRGAN, SHARE, SLOPE, Block

_ROWS, _COLUMNS = 64, 128  # of a piece, in cells before the last doubling
_AROUND = 2  # cells that a piece needs around it


def keep_exact(network: ESRGAN) -> None:
    """Let a network be near float32 whatever number format it is given, in place."""
    network.body = Blocks(*network.blocks)
    network.conv_first, network.conv_body = Exact(network.conv_first), Exact(network.conv_body)
    if network.ups:
        network.tail = Tail(network.ups, network.conv_hr, network.conv_last)
        for name in [*(f"conv_up{index + 1}" for index in range(len(network.ups))), "conv_hr", "conv_last"]:
            delattr(network, name)


class Blocks(nn.Sequential):
    """The blocks of the network, in whatever number format, with their sums in float32."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        maps, reduced = input.float().contiguous(memory_format=torch.channels_last), next(self.parameters()).dtype
        for block in self.children():
            assert isinstance(block, Block)
            before = maps
            for part in block.parts:
                maps = torch.add(maps, part.added(maps.to(reduced)), alpha=SHARE)
            maps = torch.add(before, maps, alpha=SHARE)
        return maps


class Exact(nn.Module):
    """A convolution that stays in float32, whatever number format the network is given."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self._own = conv.weight.detach().float(), conv.bias.detach().float()  # not among the parameters

    @property
    def weight(self) -> torch.Tensor:
        """As that of a convolution."""
        return self._own[0]

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        weight, bias = self._own
        return functional.conv2d(maps.float(), weight, bias, padding=1)


class Tail(nn.Module):
    """All that comes after the blocks: (B, C, H, W) to a picture (B, D, H * 2^doublings, W * 2^doublings) in float32."""

    def __init__(self, doublings: list[nn.Conv2d], before: nn.Conv2d, last: nn.Conv2d) -> None:
        """
        Args:
            doublings: convolutions of doubled maps, one at least.
            before, last: the two convolutions that follow.
        """
        super().__init__()
        self.doublings = nn.ModuleList(map(Doubled, doublings))
        self.before, self.last = before, Exact(last)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        *first, doubling = self.doublings
        maps = maps.to(self.before.weight.dtype)
        for layer in first:
            maps = functional.leaky_relu_(layer(maps), SLOPE)
        height, width = maps.shape[-2:]
        picture = torch.empty(
            len(maps), len(self.last.weight), 2 * height, 2 * width, memory_format=torch.channels_last
        )
        for top in range(0, height, _ROWS):
            for left in range(0, width, _COLUMNS):
                bottom, right = min(top + _ROWS, height), min(left + _COLUMNS, width)
                upper, outer = max(top - _AROUND, 0), max(left - _AROUND, 0)
                seen = maps[:, :, upper : bottom + _AROUND, outer : right + _AROUND]
                tells = bottom == height and right == width  # hooks, which wait for a layer, hear of the last piece
                large = functional.leaky_relu_((doubling if tells else doubling.forward)(seen), SLOPE)
                large = functional.leaky_relu_((self.before if tells else self.before.forward)(large), SLOPE)
                made = self.last(large)
                rows, columns = (
                    slice(2 * (top - upper), 2 * (bottom - upper)),
                    slice(2 * (left - outer), 2 * (right - outer)),
                )
                picture[:, :, 2 * top : 2 * bottom, 2 * left : 2 * right] = made[:, :, rows, columns]
        return picture
