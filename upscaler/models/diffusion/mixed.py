"""An autoencoder with its convolutions in half precision, where that is fast, and everything that is summed in float32.

Half precision rounds to three digits. What a layer changes bears that, and the sum that goes through all of them does not:
it stays in float32, with the norms, the attention, and the first and the last layers, where a value is a pixel's. So do
the decoder's coarsest levels: what is wrong there spreads furthest, and they are a tenth of the work. On a processor that
has units for bfloat16 this takes half of the time, and is nearer to float32 than all in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from ..doubled import Doubled


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
