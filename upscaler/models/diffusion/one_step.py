"""Super-resolution in one evaluation: what is common to its models.

The latents of a bicubic enlargement go in, no noise is added, and one evaluation gives the clean ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch

from ...options.settings import Sampling
from ..base import Habits, OnStep
from .components import Components
from .refiner import DiffusionRefiner


class OneStepRefiner(DiffusionRefiner):
    """A `Refiner` that evaluates its network once; nothing in it is random."""

    def __init__(
        self, parts: Components, habits: Habits, *, device: torch.device, dtype: torch.dtype, name: str
    ) -> None:
        super().__init__(parts, device=device, dtype=dtype, name=name)
        self.habits = habits

    def _sample(
        self,
        base: torch.Tensor,
        pixels: torch.Tensor,
        sampling: Sampling,
        noise: Callable[[int], torch.Tensor],
        on_step: OnStep,
    ) -> torch.Tensor:
        states = self._prompts(sampling, len(base), guided=False)[0].states
        evaluations, done = self.habits.evaluations(sampling), 0

        def evaluate(timestep: int) -> torch.Tensor:
            nonlocal done
            time = torch.full((), timestep, device=self._device)
            output = self._parts.unet(base.to(self._dtype), time, encoder_hidden_states=states).sample.float()
            done += 1
            on_step(done, evaluations)
            return output

        return self._clean(base, sampling, evaluate)

    @abstractmethod
    def _clean(self, base: torch.Tensor, sampling: Sampling, evaluate: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """The clean latents, (B, C, h, w) float32.

        Args:
            base: latents of the tiles, of the same shape.
            evaluate: a timestep to the UNet's output for `base`, float32.
        """
