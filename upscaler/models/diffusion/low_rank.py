"""Low-rank changes to a network's weights (LoRA): W + scale * B A, where A and B are published and W is not changed.

Source: Hu et al. 2022, eq. 3. The names are those that PEFT gives: `MODULE.lora_A.ADAPTER.weight`. For a convolution A is
one with its kernel, stride and padding, and B one of 1x1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

_ALPHA = 8  # of PEFT, where a training names none; neither PiSA-SR nor OSEDiff does
_NAME = re.compile(r"(.+)\.lora_([AB])\.(\w+)\.weight")


class Change(NamedTuple):
    """The change to one layer: A (r, in) and B (out, r), or kernels (r, in, h, w) and (out, r, 1, 1)."""

    down: torch.Tensor
    up: torch.Tensor

    @property
    def scale(self) -> float:
        return _ALPHA / len(self.down)

    def of_weight(self) -> torch.Tensor:
        """scale * B A, shaped as the layer's weight, float32."""
        down, up = self.down.float(), self.up.float()
        return self.scale * (up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])

    def of_output(self, layer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """What the change adds to the layer's output."""
        if isinstance(layer, nn.Conv2d):
            hidden = functional.conv2d(inputs, self.down, stride=layer.stride, padding=layer.padding)
            return self.scale * functional.conv2d(hidden, self.up)
        return self.scale * functional.linear(functional.linear(inputs, self.down), self.up)


def changes(state: Mapping[str, torch.Tensor], *, ending: str = "") -> dict[str, Change]:
    """The changes in a state dict by the name of their layer.

    Args:
        ending: of the adapters to take, since the layers of a network are spread over several.

    Raises:
        ValueError: half of a change is missing, its halves do not fit together, or a layer has two.
    """
    halves: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        match = _NAME.fullmatch(name)
        if match and match[3].endswith(ending):
            halves.setdefault((match[1], match[3]), {})[match[2]] = tensor
    found: dict[str, Change] = {}
    for (layer, adapter), pair in halves.items():
        down, up = pair.get("A"), pair.get("B")
        if down is None or up is None or down.ndim != up.ndim or up.shape[1] != len(down):
            raise ValueError(f"the change {adapter} to {layer} is not whole")
        if layer in found:
            raise ValueError(f"there are two changes to {layer}")
        found[layer] = Change(down, up)
    return found


@torch.no_grad()
def merge(network: nn.Module, given: Mapping[str, Change]) -> None:
    """Add changes to the weights of a network, computed in float32, in place.

    Raises:
        ValueError: the network has no such layer, or one of another shape.
    """
    for name, change in given.items():
        weight: Any = _layer(network, name, change).weight
        weight.copy_(weight.float() + change.of_weight().to(weight.device))


class Switch:
    """Changes to a network that can be turned on and off; they are moved and converted with it."""

    def __init__(self, network: nn.Module, given: Mapping[str, Change]) -> None:
        """Raises: as `merge`."""
        self.on = True
        for name, change in given.items():
            layer = _layer(network, name, change)
            weight: Any = layer.weight
            for half, tensor in zip(("low_rank_down", "low_rank_up"), change):
                layer.register_buffer(half, tensor.to(weight.device, weight.dtype), persistent=False)
            layer.register_forward_hook(self._hook)

    def _hook(self, layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if not self.on:
            return output
        return output + Change(layer.low_rank_down, layer.low_rank_up).of_output(layer, inputs[0])


def _layer(network: nn.Module, name: str, change: Change) -> nn.Module:
    try:
        layer = network.get_submodule(name)
    except AttributeError:
        raise ValueError(f"the base has no layer {name}") from None
    weight: Any = getattr(layer, "weight", None)
    shape = (len(change.up), *change.down.shape[1:])
    if not isinstance(layer, (nn.Linear, nn.Conv2d)) or tuple(weight.shape) != shape:
        raise ValueError(f"the base has another shape at {name}")
    return layer
