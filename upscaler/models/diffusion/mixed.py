"""An autoencoder with its convolutions in half precision, where that is fast, and everything that is summed in float32.

Half precision rounds to three digits. What a layer changes bears that, and the sum that goes through all of them does not:
it stays in float32, with the norms, the attention, and the first and the last layers, where a value is a pixel's. So do
the decoder's coarsest levels: what is wrong there spreads furthest, and they are a tenth of the
work. On a processor that has units for bfloat16 this takes half of the time, and is nearer to float32 than all in bfloat16.

A convolution of a map that was doubled sees the same cell two or three times on each axis. Four convolutions of 2x2 with
the sums of these weights give the same, one for the even and odd rows and columns of the result each, with 4 in 9 of the work.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn import functional


def mix(vae: Any, dtype: torch.dtype) -> Any:
    """The same autoencoder (an `AutoencoderKL` in float32, changed in place), in another number format where it may be."""
    coarsest = {id(layer) for part in (vae.decoder.mid_block, vae.decoder.up_blocks[0]) for layer in part.modules()}
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D) and id(module) not in coarsest:
            for conv in (module.conv1, module.conv2):
                _in(conv, dtype)
            module.norm2.register_forward_pre_hook(_for_norm)
    for block in vae.decoder.up_blocks:
        for index, layer in enumerate(block.upsamplers or ()):
            if _doubles(layer):
                block.upsamplers[index] = _summed(_in(Doubled(layer.conv), dtype))
    for block in vae.encoder.down_blocks:
        for layer in block.downsamplers or ():
            _summed(_in(layer.conv, dtype))
    return vae


def _in(layer: Any, dtype: torch.dtype) -> Any:
    """The layer in that number format, whatever it is given."""
    nn.Module.to(layer, dtype)
    layer.register_forward_pre_hook(_cast)
    return layer


def _summed(layer: Any) -> Any:
    """The layer with its result in float32, which others are added to."""
    layer.register_forward_hook(_raised)
    return layer


def _raised(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()


def _for_norm(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """A processor's norm takes half precision beside weights in float32; those of other devices do not."""
    maps, *rest = inputs
    return (maps if maps.device.type == "cpu" else maps.float(), *rest)


def _cast(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].to(next(layer.parameters()).dtype), *inputs[1:])


def _doubles(layer: Any) -> bool:
    """Whether a layer repeats each cell and convolves it then, and nothing else."""
    return (
        isinstance(layer, Upsample2D)
        and layer.norm is None
        and not layer.use_conv_transpose
        and bool(layer.interpolate)
        and isinstance(layer.conv, nn.Conv2d)
        and layer.conv.kernel_size == (3, 3)
    )


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
