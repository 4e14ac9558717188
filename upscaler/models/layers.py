"""The layers of a network that take time, and a look at each of them while it runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def layers_with_weights(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The convolutions and matrix products, in their order: modules without others inside that have a matrix of weights."""
    return [
        layer
        for layer in network.modules()
        if next(layer.children(), None) is None and any(weight.ndim > 1 for weight in layer.parameters(recurse=False))
    ]


@contextmanager
def after_each(layers: Sequence[torch.nn.Module], call: Callable[[], None]) -> Generator[None, None, None]:
    """Call `call` after each of the layers while the block runs; what it raises ends the network's run."""

    def hook(layer: torch.nn.Module, inputs: Any, output: Any) -> None:
        call()

    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
