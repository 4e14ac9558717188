"""An autoencoder in strips of rows, with the result of the whole: for pictures whose feature maps are too large at once.

A convolution needs a few rows around a strip. What keeps an autoencoder from running in pieces is its group norm, whose
statistics are those of the whole map. So one layer after the other runs over the whole map, strip by strip, and the
statistics of a map are gathered while it is written. Of n pixels with mean m and variance v in each of some parts, together

    mean = sum n_i m_i / sum n_i        variance = sum n_i (v_i + m_i^2) / sum n_i - mean^2

(Chan, Golub and LeVeque 1979); the mean of the variances alone would leave out how far the parts lie apart, which is all
that there is between a sky and the ground. Attention at the lowest resolution sees the whole map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.vae import Decoder, DecoderTiny, Encoder, EncoderTiny
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock, DownEncoderBlock2D, UpDecoderBlock2D

from ...arrays.store import Store

_CELLS = 2**16
"""Of a map in one strip, at least two rows: what a strip takes is little beside whole maps."""
_EVEN = 2  # strips begin on even rows, so that halving their resolution meets the same rows as in the whole

Call = Callable[[torch.Tensor], torch.Tensor]


class FeatureMap:
    """A map (B, C, H, W) that is written in strips, and the mean and the square of each channel meanwhile."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self._sums = torch.zeros(2, *values.shape[:2], dtype=torch.float64)

    @classmethod
    def of(cls, values: torch.Tensor) -> FeatureMap:
        """A map that is there already."""
        made = cls(values)
        for rows in made.strips():
            made.write(rows, values[:, :, rows])
        return made

    def strips(self) -> Iterator[slice]:
        """Its rows, some at a time."""
        _, _, height, width = self.values.shape
        rows = max(_CELLS // width // _EVEN * _EVEN, _EVEN)
        return (slice(top, min(top + rows, height)) for top in range(0, height, rows))

    def write(self, rows: slice, part: torch.Tensor) -> None:
        """Write some rows; each once."""
        self.values[:, :, rows] = part
        variance, mean = torch.var_mean(part.float(), dim=(2, 3), correction=0)
        share = part.shape[2] / self.values.shape[2]
        sums = torch.stack([mean, variance]).double().cpu()
        self._sums[0] += share * sums[0]
        self._sums[1] += share * (sums[1] + sums[0].square())

    def normalised(self, norm: torch.nn.GroupNorm) -> Call:
        """The group norm of this map and a SiLU, for any part of it; with the result in the part's number format."""
        mean, square = self._sums.unflatten(2, (norm.num_groups, -1)).mean(dim=3, keepdim=True)
        scale = (square - mean.square()).clamp(min=0).add(norm.eps).rsqrt()
        shape = (*self.values.shape[:2], 1, 1)
        each = self.values.shape[1] // norm.num_groups
        scale, mean = (one.expand(-1, -1, each).reshape(shape) for one in (scale, mean))
        weight, bias = (one.detach().double().cpu()[None, :, None, None] for one in (norm.weight, norm.bias))
        factor, shift = weight * scale, bias - mean * weight * scale
        device = norm.weight.device
        factor, shift = factor.float().to(device), shift.float().to(device)
        return lambda part: torch.nn.functional.silu(torch.addcmul(shift, part.float(), factor)).to(part.dtype)


class InStrips:
    """The encoder and the decoder of diffusers' `AutoencoderKL` or `AutoencoderTiny`, layer by layer in strips."""

    def __init__(self, vae: Any, *, store: Store | None = None) -> None:
        """`store` is where maps are kept, in main memory or on disk; `None` is where the autoencoder is."""
        self._vae = vae
        self._device = next(vae.parameters()).device
        self._home = self._device if store is None else torch.device("cpu")
        self._store = store

    @staticmethod
    def can(vae: Any) -> bool:
        """Whether all layers of an autoencoder are of kinds that are known here."""
        encoder, decoder = vae.encoder, vae.decoder
        if isinstance(encoder, EncoderTiny) and isinstance(decoder, DecoderTiny):
            return True
        if not (isinstance(encoder, Encoder) and isinstance(decoder, Decoder)):
            return False
        down: list[Any] = list(encoder.down_blocks)
        up: list[Any] = list(decoder.up_blocks)
        plain = all(isinstance(block, DownEncoderBlock2D) for block in down)
        plain = plain and all(isinstance(block, UpDecoderBlock2D) for block in up)
        middle: list[Any] = [encoder.mid_block, decoder.mid_block]
        return plain and all(_is_plain(resnet) for block in (*down, *middle, *up) for resnet in block.resnets)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of (B, 3, H, W): the moments of the latents, or the latents of a tiny one."""
        encoder = self._vae.encoder
        values = self._placed(image)
        if isinstance(encoder, EncoderTiny):
            return self._sequence(encoder.layers, values.add(1).div(2))
        found = self._over(FeatureMap(values), encoder.conv_in)
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                found = self._resnet(resnet, found)
            for layer in block.downsamplers or ():
                found = self._over(found, layer, reach=2, down=2)
        return self._ended(encoder, self._middle(encoder.mid_block, found), self._vae.quant_conv)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """What the decoder makes of (B, C, h, w): pixels (B, 3, H, W)."""
        decoder = self._vae.decoder
        values = self._placed(latents)
        if isinstance(decoder, DecoderTiny):
            return self._sequence(decoder.layers, torch.tanh(values / 3) * 3).mul(2).sub(1)
        start = FeatureMap(values)
        if self._vae.post_quant_conv is not None:
            start = self._over(start, self._vae.post_quant_conv, reach=0)
        found = self._middle(decoder.mid_block, self._over(start, decoder.conv_in))
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                found = self._resnet(resnet, found)
            for layer in block.upsamplers or ():
                found = self._over(found, layer, up=2)
        return self._ended(decoder, found, None)

    def _placed(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._home, self._vae.dtype)

    def _over(
        self,
        source: FeatureMap,
        call: Call,
        *,
        reach: int = 1,
        up: int = 1,
        down: int = 1,
        add: Callable[[slice], torch.Tensor] | None = None,
        into: FeatureMap | None = None,
    ) -> FeatureMap:
        """A layer over a map.

        Args:
            call: the layer, of any rows; beyond them it sees what it sees beyond the picture.
            reach: how many rows of context it needs on each side.
            up, down: what it does to the resolution.
            add: what is added to its result in some rows.
            into: write over this map; `add` alone may read it, row by row.
        """
        height, target = source.values.shape[2], None
        for rows in source.strips():
            top, bottom = max(rows.start - reach, 0), min(rows.stop + reach, height)
            made = call(source.values[:, :, top:bottom].to(self._device))
            there = slice(rows.start * up // down, rows.stop * up // down)
            first = (rows.start - top) * up // down
            made = made[:, :, first : first + there.stop - there.start]
            if add is not None:
                made = made + add(rows)
            if target is None:
                shape = (*made.shape[:2], height * up // down, made.shape[3])
                target = FeatureMap(self._room(shape, made.dtype) if into is None else into.values)
            target.write(there, made)
        assert target is not None
        return target

    def _room(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A new map; in memory pixel by pixel, so that rows lie together."""
        if self._store is None:
            return torch.empty(shape, dtype=dtype, device=self._home, memory_format=torch.channels_last)
        samples, channels, height, width = shape
        numbers = samples * height * width * channels
        flat = torch.from_numpy(self._store.empty((-(-numbers * dtype.itemsize // 4),))).view(dtype)
        return flat[:numbers].view(samples, height, width, channels).permute(0, 3, 1, 2)

    def _resnet(self, block: Any, source: FeatureMap) -> FeatureMap:
        normed = source.normalised(block.norm1)
        inner = self._over(source, lambda part: block.conv1(normed(part)))
        again = inner.normalised(block.norm2)
        scale, shortcut = block.output_scale_factor, block.conv_shortcut

        def kept(rows: slice) -> torch.Tensor:
            part = source.values[:, :, rows].to(self._device)
            return (part if shortcut is None else shortcut(part)) / scale

        into = source if shortcut is None else None
        return self._over(inner, lambda part: block.conv2(again(part)) / scale, add=kept, into=into)

    def _middle(self, block: Any, source: FeatureMap) -> FeatureMap:
        """Residual blocks in strips, and attention, over the whole map, between them."""
        first, *rest = block.resnets
        found = self._resnet(first, source)
        for attention, resnet in zip(block.attentions, rest):
            if attention is not None:
                found = FeatureMap.of(attention(found.values.to(self._device)).to(self._home))
            found = self._resnet(resnet, found)
        return found

    def _ended(self, part: Any, source: FeatureMap, last: Any) -> torch.Tensor:
        normed = source.normalised(part.conv_norm_out)
        found = self._over(source, lambda strip: part.conv_out(normed(strip)))
        return (found if last is None else self._over(found, last, reach=0)).values.to(self._device)

    def _sequence(self, layers: Any, values: torch.Tensor) -> torch.Tensor:
        """The layers of a tiny autoencoder, which has no norm."""
        found = FeatureMap(values)
        for layer in layers:
            if isinstance(layer, AutoencoderTinyBlock):
                found = self._over(found, layer, reach=3)
            elif isinstance(layer, torch.nn.Upsample):
                found = self._over(found, layer, reach=0, up=2)
            elif isinstance(layer, torch.nn.Conv2d) and layer.stride == (2, 2):
                found = self._over(found, layer, reach=2, down=2)
            else:
                found = self._over(found, layer)
        return found.values.to(self._device)


def _is_plain(block: Any) -> bool:
    """Whether a residual block is group norm, SiLU and convolution, twice, without a timestep."""
    if not isinstance(block, ResnetBlock2D):
        return False
    parts: Any = block
    return (
        parts.time_emb_proj is None
        and parts.upsample is None
        and parts.downsample is None
        and parts.time_embedding_norm != "scale_shift"
        and all(isinstance(norm, torch.nn.GroupNorm) for norm in (parts.norm1, parts.norm2))
        and isinstance(parts.nonlinearity, torch.nn.SiLU)
    )
