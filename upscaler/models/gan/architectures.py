"""The two architectures that nearly all files of super-resolution networks have, the bundled ones among them.

ESRGAN: Wang et al. 2018 (https://arxiv.org/abs/1809.00219); folded input and "compact" networks: Wang et al. 2021, Real-ESRGAN
(https://arxiv.org/abs/2107.10833). Their parameters are called here as in most files. All other architectures are
spandrel's, which takes a second to import.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..device import is_out_of_memory

SLOPE = 0.2  # of leaky ReLUs
SHARE = 0.2  # of what a block has made that is added to its input


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and what those before it have made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for index in range(4):
            self.add_module(f"conv{index + 1}", nn.Conv2d(width + index * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    @property
    def layers(self) -> list[nn.Conv2d]:
        """The convolutions, in their order."""
        return [getattr(self, f"conv{index}") for index in range(1, 6)]

    def added(self, maps: torch.Tensor) -> torch.Tensor:
        """What is added to the input, before it is weighed."""
        *inner, last = self.layers
        seen = maps
        for layer in inner:
            seen = torch.cat([seen, functional.leaky_relu_(layer(seen), SLOPE)], dim=1)
        return last(seen)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.added(maps) * SHARE + maps


class Block(nn.Module):
    """Three dense blocks, and a way around them."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    @property
    def parts(self) -> list[DenseBlock]:
        """The dense blocks, in their order."""
        return [self.rdb1, self.rdb2, self.rdb3]

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.rdb3(self.rdb2(self.rdb1(maps))) * SHARE + maps


class Doubling(nn.Conv2d):
    """A convolution of maps whose cells are doubled on both axes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.interpolate(input, scale_factor=2.0))


class ESRGAN(nn.Module):
    """(B, C, H, W) in [0, 1] to (B, C, H * scale, W * scale), about in [0, 1].

    Args:
        channels: of the picture.
        doublings: how often maps are doubled.
        fold: pixels on a side that are one cell of the first convolution.
    """

    width: int
    growth: int

    def __init__(self, channels: int, width: int, growth: int, blocks: int, doublings: int, fold: int = 1) -> None:
        super().__init__()
        self.width, self.growth, self.fold = width, growth, fold
        self.scale = 2**doublings // fold
        self.conv_first: Any = nn.Conv2d(channels * fold**2, width, 3, padding=1)
        self.body: nn.Module = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        self.conv_body: Any = nn.Conv2d(width, width, 3, padding=1)
        for index in range(doublings):
            self.add_module(f"conv_up{index + 1}", Doubling(width, width, 3, padding=1))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)
        self.tail: nn.Module | None = None  # what comes after the blocks, where it is done in another way

    @property
    def blocks(self) -> list[Block]:
        """In their order."""
        return [block for block in self.body.children() if isinstance(block, Block)]

    @property
    def ups(self) -> list[nn.Conv2d]:
        """The convolutions of doubled maps, in their order."""
        return [layer for layer in self.children() if isinstance(layer, Doubling)]

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        if self.fold > 1:
            beside = (0, -width % self.fold, 0, -height % self.fold)
            picture = functional.pixel_unshuffle(functional.pad(picture, beside, mode="reflect"), self.fold)
        first = self.conv_first(picture.to(self.conv_first.weight.dtype))
        maps = first + self.conv_body(self.body(first))
        made = self._enlarged(maps) if self.tail is None else self.tail(maps)
        return made if self.fold == 1 else made[..., : height * self.scale, : width * self.scale]

    def _enlarged(self, maps: torch.Tensor) -> torch.Tensor:
        """What comes after the blocks."""
        for up in self.ups:
            maps = functional.leaky_relu_(up(maps), SLOPE)
        return self.conv_last(functional.leaky_relu_(self.conv_hr(maps), SLOPE))


class Compact(nn.Module):
    """(B, C, H, W) in [0, 1] to (B, C, H * scale, W * scale), about in [0, 1]: what is added to the picture with its pixels repeated."""

    def __init__(self, channels: int, width: int, layers: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        body: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(layers):
            body += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*body, nn.Conv2d(width, channels * scale**2, 3, padding=1))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        reduced = next(self.parameters()).dtype
        added = functional.pixel_shuffle(self.body(picture.to(reduced)), self.scale)
        return added + functional.interpolate(picture, scale_factor=float(self.scale))


class AnySize:
    """What spandrel would say of the sizes of pictures: all of them are fine."""

    def get_padding(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows that a picture needs beyond its own."""
        return 0, 0


class KnownNetwork:
    """One of these networks with its weights: a `Network`, as spandrel's are.

    Attributes:
        takes_float32: pictures go in as they are, whatever number format the network has.
    """

    takes_float32 = True
    purpose = "SR"
    supports_half = supports_bfloat16 = True
    size_requirements = AnySize()

    def __init__(self, model: ESRGAN | Compact, channels: int) -> None:
        self._model: nn.Module = model
        self.architecture = SimpleNamespace(id=type(model).__name__, name=type(model).__name__)
        self.scale = model.scale
        self.input_channels = self.output_channels = channels

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self._model

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C, H * scale, W * scale), both in [0, 1]."""
        return self._model(pictures).clamp_(0, 1)


def known_network(state: Mapping[str, Any]) -> KnownNetwork | None:
    """The network that has these weights, in float32 on the CPU, if it is of one of these architectures."""
    state = _as_in_most_files(state)
    make = _esrgan if "conv_first.weight" in state else _compact
    try:
        with torch.device("meta"):  # no time is spent on numbers that those of the file replace
            network = make(state)
        network.model.load_state_dict({name: weight.float() for name, weight in state.items()}, assign=True)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return None  # another architecture with such names
    return network


def _esrgan(state: Mapping[str, torch.Tensor]) -> KnownNetwork:
    width, seen = state["conv_first.weight"].shape[:2]
    channels = len(state["conv_last.weight"])
    fold = {1: 1, 4: 2, 16: 4}[seen // channels]
    growth = len(state["body.0.rdb1.conv1.weight"])
    blocks = 1 + max(_numbers(state, r"body\.(\d+)\.rdb1\.conv1\.weight"))
    doublings = max(_numbers(state, r"conv_up(\d+)\.weight"), default=0)
    return KnownNetwork(ESRGAN(channels, width, growth, blocks, doublings, fold), channels)


def _compact(state: Mapping[str, torch.Tensor]) -> KnownNetwork:
    width, channels = state["body.0.weight"].shape[:2]
    last = max(_numbers(state, r"body\.(\d+)\.bias"))
    scale = math.isqrt(len(state[f"body.{last}.bias"]) // channels)
    return KnownNetwork(Compact(channels, width, last // 2 - 1, scale), channels)


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in names if (found := re.fullmatch(pattern, name))})


def _as_in_most_files(state: Mapping[str, Any]) -> dict[str, Any]:
    """ESRGAN's parameters have other names in its first files, and others again in those of BSRGAN."""
    convolutions = _numbers(state, r"model\.(\d+)\.weight")  # the first, one for each doubling, and two more
    names = {f"model.{number}": f"conv_up{index}" for index, number in enumerate(convolutions)}
    for number, name in zip(convolutions[:1] + convolutions[-2:], ("conv_first", "conv_hr", "conv_last")):
        names[f"model.{number}"] = name
    names |= {f"model.1.sub.{number}": "conv_body" for number in _numbers(state, r"model\.1\.sub\.(\d+)\.weight")}
    names |= {"trunk_conv": "conv_body", "HRconv": "conv_hr"}
    renamed: dict[str, Any] = {}
    for name, value in state.items():
        place, _, kind = name.rpartition(".")
        place = re.sub(
            r"(?:model\.1\.sub|RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)(\d)\.conv(\d)(?:\.0)?",
            r"body.\1.rdb\2.conv\3",
            place,
        )
        place = re.sub(r"upconv(\d+)", r"conv_up\1", names.get(place, place))
        renamed[f"{place}.{kind}"] = value
    return renamed
