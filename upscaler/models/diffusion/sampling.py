"""Schedulers for img2img on tiles: diffusers' own, started at an exact strength and fed with noise of the canvas.

Two things keep tiles independent of their batch. All timesteps are ours, so that `strength` is where the noise starts
and `steps` is how many evaluations follow, exactly. And a stochastic scheduler never draws: it is handed the noise of
each step, cut from the canvas field (`variance_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

STOCHASTIC = ("euler_a", "dpmpp_2m_sde", "lcm")

# diffusers' classes carry types that neither their own methods nor ours can be held to
_AncestralBase: Any = EulerAncestralDiscreteScheduler
_DdimBase: Any = DDIMScheduler


class _EulerAncestral(_AncestralBase):
    """Euler ancestral with the noise handed in; k-diffusion's `sample_euler_ancestral` (Karras et al. 2022, eta = 1)."""

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *, variance_noise: torch.Tensor, **_: Any
    ) -> Any:
        if self.step_index is None:
            self._init_step_index(timestep)
        index = cast(int, self.step_index)
        now, after = self.sigmas[index], self.sigmas[index + 1]
        clean = _clean_from_sigma(self.config["prediction_type"], model_output, sample, now)
        up = (after**2 * (now**2 - after**2) / now**2).sqrt()
        down = (after**2 - up**2).sqrt()
        self._step_index = index + 1
        return (sample + (sample - clean) / now * (down - now) + variance_noise * up,)


class _NextTimestep(_DdimBase):
    """DDIM (Song et al. 2021, eq. 12) over any list of timesteps; with `fresh` noise it is the LCM sampler.

    LCM (Luo et al. 2023, algorithm 3) keeps the clean picture of each step and noises it anew for the next.
    """

    fresh = False

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        *,
        variance_noise: torch.Tensor | None = None,
        **_: Any,
    ) -> Any:
        later = self.timesteps[self.timesteps < timestep]
        now = self.alphas_cumprod[int(timestep)].to(sample)
        after = self.alphas_cumprod[int(later[0])].to(sample) if len(later) else torch.ones_like(now)
        sigma = ((1 - now) / now).sqrt()
        clean = _clean_from_sigma(self.config["prediction_type"], model_output, sample / now.sqrt(), sigma)
        if self.fresh:
            scaled = float(timestep) * self.config.get("timestep_scaling", 10.0)
            skip = 0.25 / (scaled**2 + 0.25)  # boundary condition of the consistency function, sigma_data = 0.5
            clean = skip * sample + scaled / (scaled**2 + 0.25) ** 0.5 * clean
        noise = (sample - now.sqrt() * clean) / (1 - now).sqrt() if variance_noise is None else variance_noise
        return (after.sqrt() * clean + (1 - after).sqrt() * noise,)


class _LCM(_NextTimestep):
    fresh = True


def _clean_from_sigma(kind: str, output: torch.Tensor, sample: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that a network's output stands for, with `sample` = clean + sigma * noise."""
    if kind == "epsilon":
        return sample - sigma * output
    if kind == "v_prediction":
        return sample / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()
    return output


_FACTORIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "euler": lambda config: EulerDiscreteScheduler.from_config(config),
    "euler_a": lambda config: _EulerAncestral.from_config(config),
    "ddim": lambda config: _NextTimestep.from_config(config),
    "dpmpp_2m": lambda config: DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++"),
    "dpmpp_2m_sde": lambda config: DPMSolverMultistepScheduler.from_config(config, algorithm_type="sde-dpmsolver++"),
    "unipc": lambda config: UniPCMultistepScheduler.from_config(config),
    "lcm": lambda config: _LCM.from_config(config),
}

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
        self._scheduler = _FACTORIES[name]({key: config[key] for key in SCHEDULE if key in config})
        self._scheduler.alphas_cumprod.clamp_(min=_LEAST_ALPHA)
        last = int(self._scheduler.config["num_train_timesteps"])
        start = max(round(last * strength), 1)
        steps = min(steps, start)
        # in numbers of its own: the default format of the process is another one while a model loads
        timesteps = (torch.linspace(start, 0, steps + 1, dtype=torch.float64)[:-1].round() - 1).long()
        scheduler = self._scheduler
        scheduler.set_timesteps(steps, device=device)
        alphas = scheduler.alphas_cumprod[timesteps]
        # Euler's method takes integers for indices
        scheduler.timesteps = self.timesteps = timesteps.to(
            device, torch.float32 if name.startswith("euler") else torch.long
        )
        scheduler.sigmas = torch.cat([((1 - alphas) / alphas).sqrt(), torch.zeros(1)])
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
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
