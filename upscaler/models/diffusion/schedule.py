"""How much noise there is at each timestep, and two samplers that need to know no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

_MOST = 0.999  # that one timestep of the cosine schedule takes away


def alphas_of(config: Mapping[str, Any]) -> torch.Tensor:
    """The share of the picture that is left at each timestep of the training, (T,), from the config of a scheduler.

    Raises:
        NotImplementedError: there is no schedule of that name.
        ValueError, TypeError, RuntimeError: what is told is no schedule.

    Source: Ho et al. 2020 (linear), Rombach et al. 2022 (scaled), Nichol and Dhariwal 2021 (cosine), Lin et al. 2024,
    algorithm 1 (no signal at the end).
    """
    steps, kind = config.get("num_train_timesteps", 1000), config.get("beta_schedule", "linear")
    low, high = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(low, high, steps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        left = [math.cos((step / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(steps + 1)]
        betas = torch.tensor(
            [min(1 - after / before, _MOST) for before, after in zip(left, left[1:])], dtype=torch.float32
        )
    else:
        raise NotImplementedError(f"there is no beta_schedule {kind!r:.40}")
    alphas = torch.cumprod(1.0 - betas, dim=0)
    if not config.get("rescale_betas_zero_snr"):
        return alphas
    root = alphas.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2


class NextTimestep:
    """DDIM (Song et al. 2021, eq. 12) over any list of timesteps; with `fresh` noise it is the LCM sampler.

    LCM (Luo et al. 2023, algorithm 3) keeps the clean picture of each step and noises it anew for the next.

    Attributes:
        timesteps, sigmas: set by the `Sampler`.
    """

    timesteps: torch.Tensor
    sigmas: torch.Tensor

    def __init__(self, config: Mapping[str, Any], *, fresh: bool) -> None:
        self.config: dict[str, Any] = {"num_train_timesteps": 1000, "prediction_type": "epsilon", **config}
        self.alphas_cumprod = alphas_of(config)
        self._fresh = fresh
        self._index = 0

    def set_timesteps(self, timesteps: torch.Tensor) -> None:
        """Tell the timesteps, in main memory: to read them from a device at each step would be to wait for it."""
        self._times = timesteps.tolist()
        self._alphas = [*self.alphas_cumprod[timesteps], torch.ones((), dtype=torch.float32)]

    def add_noise(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The latents noised for the first timestep."""
        first = self._alphas[0]
        return first.sqrt() * clean + (1 - first).sqrt() * noise

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """The sample as the network wants it, which is as it is."""
        return sample

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        *,
        variance_noise: torch.Tensor | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor]:
        """The sample of the next timestep, or the clean latents after the last one."""
        time, (now, after) = self._times[self._index], self._alphas[self._index : self._index + 2]
        self._index += 1
        sigma = ((1 - now) / now).sqrt()
        clean = clean_from_sigma(self.config["prediction_type"], model_output, sample / now.sqrt(), sigma)
        if self._fresh:
            scaled = time * self.config.get("timestep_scaling", 10.0)
            skip = 0.25 / (scaled**2 + 0.25)  # boundary condition of the consistency function, sigma_data = 0.5
            clean = skip * sample + scaled / (scaled**2 + 0.25) ** 0.5 * clean
        noise = (sample - now.sqrt() * clean) / (1 - now).sqrt() if variance_noise is None else variance_noise
        return (after.sqrt() * clean + (1 - after).sqrt() * noise,)


def clean_from_sigma(kind: str, output: torch.Tensor, sample: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that a network's output stands for, with `sample` = clean + sigma * noise."""
    if kind == "epsilon":
        return sample - sigma * output
    if kind == "v_prediction":
        return sample / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()
    return output
