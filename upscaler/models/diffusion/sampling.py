"""Schedulers for img2img on tiles: diffusers' own, started at an exact strength and fed with noise of the canvas.

Two things keep tiles independent of their batch. All timesteps are ours, so that `strength` is where the noise starts
and `steps` is how many evaluations follow, exactly. And a stochastic scheduler never draws: it is handed the noise of
each step, cut from the canvas field (`variance_noise`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import torch

from ..transfer import upload
from .schedule import NextTimestep

_IMPORTING = threading.Lock()  # threads that import diffusers at the same time can find half of it

STOCHASTIC = ("euler_a", "dpmpp_2m_sde", "lcm")

SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_scaling",
    "rescale_betas_zero_snr",
)
_LEAST_ALPHA = 2.0**-24
"""Of a schedule that ends in pure noise, where the noise level would be infinite; as in diffusers."""


class Sampler:
    """One pass of a scheduler over a batch: noises the latents and takes them step by step to clean ones."""

    def __init__(
        self, name: str, config: Mapping[str, Any], *, strength: float, steps: int, device: torch.device
    ) -> None:
        """
        Args:
            name: as in `settings.Scheduler`.
            config: of the model's own scheduler; only its noise schedule and prediction type are used.
            strength: part of the schedule that is run, above 0 to 1.
            steps: evaluations; fewer if the schedule has fewer timesteps in this part.
        """
        told = {key: config[key] for key in SCHEDULE if key in config}
        self._scheduler: Any
        if name in ("ddim", "lcm"):
            self._scheduler = NextTimestep(told, fresh=name == "lcm")
        else:
            with _IMPORTING:
                from .solvers import SOLVERS

            self._scheduler = SOLVERS[name](told)
        self._scheduler.alphas_cumprod.clamp_(min=_LEAST_ALPHA)
        last = int(self._scheduler.config["num_train_timesteps"])
        start = max(round(last * strength), 1)
        steps = min(steps, start)
        # in numbers of its own: the default format of the process is another one while a model loads
        timesteps = (torch.linspace(start, 0, steps + 1, dtype=torch.float64)[:-1].round() - 1).long()
        scheduler = self._scheduler
        if isinstance(scheduler, NextTimestep):
            scheduler.set_timesteps(timesteps)
        else:
            scheduler.set_timesteps(steps)
            scheduler.set_begin_index(0)
        alphas = scheduler.alphas_cumprod[timesteps]
        # Euler's method takes integers for indices
        times = timesteps.float() if name.startswith("euler") else timesteps
        scheduler.timesteps = self.timesteps = upload(times.numpy(), device)
        scheduler.sigmas = torch.cat([((1 - alphas) / alphas).sqrt(), torch.zeros(1)])
        self._draws = name in STOCHASTIC

    @property
    def alphas(self) -> torch.Tensor:
        """The share of the picture that is left at each timestep of the training: 1 without noise, (T,)."""
        return self._scheduler.alphas_cumprod

    @property
    def stochastic(self) -> bool:
        """Whether `step` wants noise."""
        return self._draws

    def start(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The latents noised for the first timestep."""
        first = self._scheduler.timesteps[:1].repeat(len(clean))
        return self._scheduler.add_noise(clean, noise, first)

    def scale(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The sample as the network wants it."""
        return self._scheduler.scale_model_input(sample, timestep)

    def step(
        self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """The sample of the next timestep, or the clean latents after the last one."""
        extra = {"variance_noise": noise} if self._draws else {}
        result = self._scheduler.step(output, timestep, sample, return_dict=False, **extra)
        return cast(torch.Tensor, result[0])
