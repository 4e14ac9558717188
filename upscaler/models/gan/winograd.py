"""The dense blocks of ESRGAN networks with a third of their multiplications saved, for CPUs.

Two neighbouring rows of a 3x3 convolution are made of four rows of its input. Winograd's F(2, 3) gets them from four
1x3 convolutions of sums and differences of these rows instead of six (Winograd 1980; Lavin and Gray 2016, section 4),
and here the sums are cheap: they run over whole rows, and the layers of a dense block share them, as each of them sees
all that those before it have made. F(4, 3) would save half, and ends further from float32 in bfloat16 than the usual
way. The picture through the residual blocks stays in float32, so that bfloat16 ends nearer to float32 than by that.

Layouts. Even and odd rows of `group` channels are apart: (2, H / 2, W, group). The sums of all channels of a block are one
array (4, groups, H / 2, W, group), so that those which a layer sees lie together, and a convolution of three
dimensions takes them as they are: depth is the group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .architectures import ESRGAN, SHARE, SLOPE, Block, DenseBlock
from .exact import keep_exact


def rewrite(network: nn.Module) -> bool:
    """Replace the dense blocks of a network, and its last layers, by equal ones in place; whether it has any.

    What is summed over the whole network stays in float32, whatever number format it is given, and so does what sees pixels.
    """
    if not isinstance(network, ESRGAN) or network.width % network.growth:
        return False
    keep_exact(network)
    network.body = Body(network.blocks, network.growth)
    return True


class Body(nn.Module):
    """A chain of blocks: (B, C, H, W) to the same shape, in float32 outside of the dense blocks."""

    group: int

    def __init__(self, blocks: Sequence[Block], group: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleList(map(Dense, block.parts)) for block in blocks)
        self.group = group

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._one(picture)[None] for picture in pictures])

    def _one(self, picture: torch.Tensor) -> torch.Tensor:
        channels, height, width = picture.shape
        groups, pairs = channels // self.group, (height + 1) // 2
        rows = functional.pad(picture.float(), (0, 0, 0, height % 2)).permute(1, 2, 0)
        state = rows.reshape(pairs, 2, width, groups, self.group).permute(3, 1, 0, 2, 4).contiguous()
        # large arrays are made once: memory that is new to the process costs more than what is done with it here
        reduced = next(self.parameters()).dtype
        rounded, before = torch.empty_like(state, dtype=reduced), torch.empty_like(state)
        sums = torch.empty(4, groups + 4, pairs, width, self.group, dtype=reduced)
        for block in self.blocks:
            before.copy_(state)
            for dense in block:  # pyright: ignore[reportGeneralTypeIssues]
                dense(state, rounded, sums, odd=height % 2 == 1)
            state.mul_(SHARE).add_(before)
        rows = state.permute(2, 1, 3, 0, 4).reshape(2 * pairs, width, channels)[:height]
        return rows.permute(2, 0, 1)


class Dense(nn.Module):
    """A residual dense block of five convolutions."""

    def __init__(self, dense: DenseBlock) -> None:
        super().__init__()
        *inner, last = dense.layers
        group = inner[0].out_channels
        self.inner = nn.ModuleList(RowConv(conv, slice(None), group) for conv in inner)
        parts = (slice(start, start + group) for start in range(0, last.out_channels, group))
        self.last = nn.ModuleList(RowConv(last, part, group) for part in parts)

    def forward(self, state: torch.Tensor, rounded: torch.Tensor, sums: torch.Tensor, *, odd: bool) -> None:
        """Add the block's output to its input.

        Args:
            state: (groups, 2, H / 2, W, group) float32, changed in place.
            rounded: room for as much in the network's number format.
            sums: room for (4, groups + 4, H / 2, W, group).
            odd: the last row of the odd ones is none of the picture's, and zero.
        """
        groups = len(state)
        for index, part in enumerate(rounded.copy_(state)):
            add_rows(sums[:, index], part[0], part[1])
        for index, conv in enumerate(self.inner):
            even, odds = conv(sums[:, : groups + index])
            for rows in (even, odds):
                functional.leaky_relu_(rows, SLOPE)
            if odd:
                odds[-1] = 0
            add_rows(sums[:, groups + index], even, odds)
        for part, conv in zip(state, self.last):
            even, odds = conv(sums)
            if odd:
                odds[-1] = 0
            part[0].add_(even, alpha=SHARE)
            part[1].add_(odds, alpha=SHARE)


class RowConv(nn.Module):
    """A 3x3 convolution, or some of its output channels, as four of 1x3 over sums of rows."""

    def __init__(self, conv: nn.Conv2d, part: slice, group: int) -> None:
        super().__init__()
        weight = conv.weight.detach()[part].float()
        first, second, third = weight.unbind(2)
        outer = (first + third) / 2
        four = torch.stack([first, outer + second / 2, outer - second / 2, third])
        split = four.unflatten(2, (-1, group)).permute(0, 1, 2, 4, 3)[:, :, :, None]  # 4, out, groups, 1, 3, group
        assert conv.bias is not None
        self.weight = nn.Parameter(split.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(conv.bias.detach()[part].clone(), requires_grad=False)

    def forward(self, sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(4, groups, H / 2, W, group) to the even and the odd rows, (H / 2, W, out) each."""
        products = [
            functional.conv3d(
                rows.permute(3, 0, 1, 2)[None],
                weight.permute(0, 4, 1, 2, 3),
                self.bias if index == 1 else None,  # the second counts once in both rows
                padding=(0, 0, 1),
            )[0, :, 0].permute(1, 2, 0)
            for index, (rows, weight) in enumerate(zip(sums, self.weight))
        ]
        first, second, third, fourth = products
        return first.add_(second).add_(third), second.sub_(third).sub_(fourth)


def add_rows(sums: torch.Tensor, even: torch.Tensor, odd: torch.Tensor) -> None:
    """The four sums of each pair of rows and its neighbours; beyond the picture is black, as a convolution pads.

    Args:
        sums: (4, H / 2, W, C), written.
        even, odd: (H / 2, W, C).
    """
    torch.sub(odd[:-1], odd[1:], out=sums[0, 1:])
    sums[0, 0] = -odd[0]
    torch.add(even, odd, out=sums[1])
    torch.sub(odd, even, out=sums[2])
    torch.sub(even[:-1], even[1:], out=sums[3, :-1])
    sums[3, -1] = even[-1]
