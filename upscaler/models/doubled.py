"""A convolution of a map that was doubled, in less work.

It sees the same cell two or three times on each axis. Four convolutions of 2x2 with the sums of these weights give the same,
one for the even and odd rows and columns of the result each, with 4 in 9 of the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Doubled(nn.Module):
    """A 3x3 convolution of a map whose cells are repeated to 2x2, from the map itself: (B, C, H, W) to (B, D, 2 H, 2 W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        first, second, third = conv.weight.detach().float().unbind(2)
        rows = torch.stack([torch.stack([first, second + third]), torch.stack([first + second, third])])
        first, second, third = rows.unbind(4)  # of 2 (row of the result), 2 (row seen), out, in, column
        columns = torch.stack([torch.stack([first, second + third]), torch.stack([first + second, third])])
        # column of the result, column seen, row of the result, row seen, out, in
        self.weight = nn.Parameter(columns.permute(2, 0, 4, 5, 3, 1).contiguous(), requires_grad=False)
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)

    def forward(self, maps: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        batch, _, height, width = maps.shape
        padded = functional.pad(maps, (1, 1, 1, 1))
        out = torch.empty(
            (batch, self.weight.shape[2], 2 * height, 2 * width),
            dtype=maps.dtype,
            device=maps.device,
            memory_format=torch.channels_last,
        )
        for row in (0, 1):
            for column in (0, 1):
                seen = padded[:, :, row : row + height + 1, column : column + width + 1]
                weight = self.weight[row, column].contiguous(memory_format=torch.channels_last)
                out[:, :, row::2, column::2] = functional.conv2d(seen, weight, self.bias)
        return out
