"""Muon for the convolutions, AdamW for the rest, and a running mean of the weights."""

from __future__ import annotations

import torch
from torch import nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz of Keller Jordan's Muon


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum: every direction of a weight matrix moves equally far.

    A convolution (out, in, k, k) is taken as the matrix (out, in * k * k).
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with Nesterov momentum."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                parameter.add_(_orthogonalised(direction).view_as(parameter), alpha=-group["lr"])


def _orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with all singular values about 1; scaled up where there are more rows than columns."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if tall else matrix).bfloat16()
    result = result / (result.norm() + 1e-7)
    for _ in range(5):
        square = result @ result.T
        result = a * result + (b * square + c * square @ square) @ result
    return (result.T if tall else result).to(matrix) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5


class Average:
    """A running mean of a network's weights, over about the last thousand steps."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        current = network.state_dict()
        names = list(self.weights)
        weight = max(0.003, 9 / (10 + step))
        torch._foreach_lerp_([self.weights[name] for name in names], [current[name] for name in names], weight)
