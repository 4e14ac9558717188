"""The schedulers of diffusers that a `Sampler` runs. Importing diffusers takes a second, which those of our own do without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from .schedule import clean_from_sigma

# diffusers' classes carry types that neither their own methods nor ours can be held to
_AncestralBase: Any = EulerAncestralDiscreteScheduler


class _EulerAncestral(_AncestralBase):
    """Euler ancestral with the noise handed in; k-diffusion's `sample_euler_ancestral` (Karras et al. 2022, eta = 1)."""

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *, variance_noise: torch.Tensor, **_: Any
    ) -> Any:
        if self.step_index is None:
            self._init_step_index(timestep)
        index = cast(int, self.step_index)
        now, after = self.sigmas[index], self.sigmas[index + 1]
        clean = clean_from_sigma(self.config["prediction_type"], model_output, sample, now)
        up = (after**2 * (now**2 - after**2) / now**2).sqrt()
        down = (after**2 - up**2).sqrt()
        self._step_index = index + 1
        return (sample + (sample - clean) / now * (down - now) + variance_noise * up,)


SOLVERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "euler": lambda config: EulerDiscreteScheduler.from_config(config),
    "euler_a": lambda config: _EulerAncestral.from_config(config),
    "dpmpp_2m": lambda config: DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++"),
    "dpmpp_2m_sde": lambda config: DPMSolverMultistepScheduler.from_config(config, algorithm_type="sde-dpmsolver++"),
    "unipc": lambda config: UniPCMultistepScheduler.from_config(config),
}
"""By their names in `settings.Scheduler`; made of a config."""
