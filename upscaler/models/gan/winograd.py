"""The dense blocks of ESRGAN networks with a third of their multiplications saved, for CPUs.

Two neighbouring rows of a 3x3 convolution are made of four rows of its input. Winograd's F(2, 3) gets them from four
1x3 convolutions of sums and differences of these rows instead of six (Winograd 1980; Lavin and Gray 2016, section 4),
and here the sums are cheap: they run over whole rows, and the layers of a dense block share them, as each of them sees
all that those before it have made. F(4, 3), which saves half, is further from float32 in bfloat16 than all that is done in the usual
way. The picture through the residual blocks stays in float32, so that bfloat16 ends nearer to float32 than by that.

Layouts. Even and odd rows of `group` channels are apart, in bands of pairs that are worked on one after the other, so that what one
layer makes is still in the cache when the next one takes it: (bands, groups, 2, pairs, W, group). The sums of all channels
of a block are (bands, 4, groups, pairs, W, group), so that those which a layer sees lie together, and a convolution of three
dimensions takes them as they are: depth is the group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .architectures import ESRGAN, SHARE, SLOPE, Block, DenseBlock
from .tail import Exact, Tail

BAND = 4096  # pairs of cells


def rewrite(network: nn.Module) -> bool:
    """Replace the dense blocks of a network, and its last layers, by equal ones in place; whether it has any."""
    if not isinstance(network, ESRGAN) or not _fits(network):
        return False
    network.body = Body(list(network.body))
    network.conv_first, network.conv_body = Exact(network.conv_first), Exact(network.conv_body)
    if network.doublings:
        ups = [network._modules.pop(f"conv_up{index + 1}") for index in range(network.doublings)]
        network.tail = Tail(ups, network._modules.pop("conv_hr"), network._modules.pop("conv_last"))
    return True


def _fits(network: ESRGAN) -> bool:
    return network.conv_first.out_channels % network.body[0].rdb1.conv1.out_channels == 0


class Body(nn.Module):
    """A chain of blocks: (B, C, H, W) to the same shape, in float32 outside of the dense blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleList(map(Dense, block.parts)) for block in blocks)
        self.group = blocks[0].rdb1.conv1.out_channels

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._one(picture)[None] for picture in pictures])

    def _one(self, picture: torch.Tensor) -> torch.Tensor:
        channels, height, width = picture.shape
        groups, pairs = channels // self.group, -(-height // 2)
        deep = min(max(BAND // width, 1), pairs)
        bands = -(-pairs // deep)
        rows = functional.pad(picture.float(), (0, 0, 0, 2 * deep * bands - height)).permute(1, 2, 0)
        state = rows.reshape(bands, deep, 2, width, groups, self.group).permute(0, 4, 2, 1, 3, 5).contiguous()
        # large arrays are made once: memory that is new to the process costs more than what is done with it here
        before = torch.empty_like(state)
        sums = self.blocks[0][0].inner[0].weight.new_empty(bands, 4, groups + 4, deep, width, self.group)
        for block in self.blocks:
            before.copy_(state)
            for dense in block:  # pyright: ignore[reportGeneralTypeIssues]
                dense(state, sums, height)
            state.mul_(SHARE).add_(before)
        rows = state.permute(0, 3, 2, 4, 1, 5).reshape(2 * deep * bands, width, channels)[:height]
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

    def forward(self, state: torch.Tensor, sums: torch.Tensor, height: int) -> None:
        """Add the block's output to its input.

        Args:
            state: (bands, groups, 2, pairs, W, group) float32, changed in place.
            sums: room for (bands, 4, groups + 4, pairs, W, group) in the network's number format.
            height: of the picture, in rows; what lies below is zero.
        """
        bands, groups, _, deep = state.shape[:4]
        layers = len(self.inner) + 2  # the first makes sums of the input
        edges = sums.new_empty(groups + len(self.inner), 2, *state.shape[4:])
        # A layer is one band behind the one before it, since it sees the first rows of the band below too.
        for turn in range(bands + layers - 1):
            for layer in range(max(turn - bands + 1, 0), min(turn + 1, layers)):
                band = turn - layer
                tells = band == max(layer * bands // (layers - 1) - 1, 0)
                if layer == 0:
                    for index, (even, odd) in enumerate(state[band].to(sums.dtype)):
                        add_rows(sums[:, :, index], edges[index], band, even, odd)
                elif layer <= len(self.inner):
                    seen = groups + layer - 1
                    even, odd = _call(self.inner[layer - 1], sums[band, :, :seen], tells)
                    for rows in (even, odd):
                        functional.leaky_relu_(rows, SLOPE)
                    _clear(even, odd, height - 2 * deep * band)
                    add_rows(sums[:, :, seen], edges[seen], band, even, odd)
                else:
                    for part, conv in zip(state[band], self.last):
                        even, odd = _call(conv, sums[band], tells)
                        _clear(even, odd, height - 2 * deep * band)
                        part[0].add_(even, alpha=SHARE)
                        part[1].add_(odd, alpha=SHARE)


def _call(conv: nn.Module, sums: torch.Tensor, tells: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What a convolution makes of a band; hooks, which count layers, hear of one band, when its share of the work is done."""
    return conv(sums) if tells else conv.forward(sums)


def _clear(even: torch.Tensor, odd: torch.Tensor, inside: int) -> None:
    """Make zero what lies below the picture, of which there are so many rows from the first one here on."""
    if inside < 2 * len(even):
        even[(inside + 1) // 2 :] = 0
        odd[inside // 2 :] = 0


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
        """(4, groups, pairs, W, group) to the even and the odd rows, (pairs, W, out) each."""
        first, second, third, fourth = (
            functional.conv3d(
                rows.permute(3, 0, 1, 2)[None],
                weight.permute(0, 4, 1, 2, 3),
                self.bias if index == 1 else None,  # the second counts once in both rows
                padding=(0, 0, 1),
            )[0, :, 0].permute(1, 2, 0)
            for index, (rows, weight) in enumerate(zip(sums, self.weight))
        )
        return first.add_(second).add_(third), second.sub_(third).sub_(fourth)


def add_rows(sums: torch.Tensor, edge: torch.Tensor, band: int, even: torch.Tensor, odd: torch.Tensor) -> None:
    """The four sums of each pair of rows and its neighbours; beyond the picture is black, as a convolution pads.

    The bands come in their order; the last pair of each is whole when the next one has come.

    Args:
        sums: (bands, 4, pairs, W, C); those of a band are written.
        edge: (2, W, C), the last even and odd rows of the band above, and then of this one.
        even, odd: (pairs, W, C).
    """
    first, second, third, fourth = sums[band]
    torch.sub(odd[:-1], odd[1:], out=first[1:])
    torch.add(even, odd, out=second)
    torch.sub(odd, even, out=third)
    torch.sub(even[:-1], even[1:], out=fourth[:-1])
    fourth[-1] = even[-1]
    if band:
        torch.sub(edge[1], odd[0], out=first[0])
        torch.sub(edge[0], even[0], out=sums[band - 1, 3, -1])
    else:
        torch.neg(odd[0], out=first[0])
    edge[0], edge[1] = even[-1], odd[-1]
