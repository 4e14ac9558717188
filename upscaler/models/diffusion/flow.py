"""Flow matching: models that predict the velocity from a picture to noise, on the straight line between them.

At sigma in [0, 1] a sample is (1 - sigma) * clean + sigma * noise, and the velocity is noise - clean (Lipman et al. 2023;
Esser et al. 2024, "Scaling Rectified Flow Transformers"). A family of such models is a `FlowRefiner` with a call of its
network and a text encoder of its own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from ...errors import SettingsError
from ...geometry import Size
from ...options.settings import Sampling
from ..base import tile_sides
from .components import Components
from .flow_parts import FlowParts
from .habits import Family
from .refiner import DiffusionRefiner
from .sampling import STOCHASTIC
from .text import Prompt

_TIMES = 1000  # timesteps are sigma * 1000
_BELOW_ONE = 0.999  # where solvers in log signal-to-noise start: at 1 there is no signal
_ACTIVATIONS = 48  # numbers for each token and each of a transformer's width at its peak
_MULTISTEP: dict[str, Callable[[], Any]] = {
    "dpmpp_2m": lambda: _solver(DPMSolverMultistepScheduler, algorithm_type="dpmsolver++"),
    "dpmpp_2m_sde": lambda: _solver(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"),
    "unipc": lambda: _solver(UniPCMultistepScheduler),
}


def _solver(kind: Any, **options: str) -> Any:
    return kind(prediction_type="flow_prediction", use_flow_sigmas=True, **options)


class FlowSampler:
    """One pass over a batch; the counterpart of `sampling.Sampler`."""

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        strength: float,
        steps: int,
        tokens: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            name: as in `settings.Scheduler`. Euler's method is what "ddim" is here too.
            config: of the model's own scheduler; only how it shifts sigma is used.
            strength: sigma to start from, before it is shifted.
            steps: evaluations.
            tokens: patches of a tile; some models start from more noise where there are more of them.

        Raises:
            SettingsError: that scheduler has no form for flow matching.
        """
        if name == "euler_a":
            raise SettingsError(
                "diffusion.scheduler: euler_a cannot run a flow matching model; use euler, dpmpp_2m, dpmpp_2m_sde, unipc or lcm"
            )
        self._name = name
        shift = _shift(config, tokens)
        sigmas = torch.linspace(strength, 0, steps + 1, dtype=torch.float64)
        sigmas = (shift * sigmas / (1 + (shift - 1) * sigmas)).float()
        self._solver: Any = None
        if name in _MULTISTEP:
            sigmas = sigmas.clamp(max=_BELOW_ONE)
            self._solver = _MULTISTEP[name]()
            self._solver.set_timesteps(steps, device=device)
            self._solver.timesteps, self._solver.sigmas = sigmas[:-1].to(device) * _TIMES, sigmas
            self._solver.set_begin_index(0)
        self._sigmas = sigmas.tolist()
        self._step = 0
        self.timesteps = sigmas[:-1].to(device) * _TIMES

    @property
    def stochastic(self) -> bool:
        """Whether `step` wants noise."""
        return self._name in STOCHASTIC

    def start(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The latents noised for the first timestep."""
        return torch.lerp(clean, noise, self._sigmas[0])

    def scale(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The sample as the network wants it, which is as it is."""
        return sample

    def step(
        self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """The sample of the next timestep, or the clean latents after the last one."""
        if self._solver is not None:
            extra = {"variance_noise": noise} if self.stochastic else {}
            return self._solver.step(output, timestep, sample, return_dict=False, **extra)[0]
        now, after = self._sigmas[self._step : self._step + 2]
        self._step += 1
        if noise is not None:  # LCM: the clean picture, noised anew
            return torch.lerp(sample - now * output, noise, after)
        return sample + (after - now) * output


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    """By which factor the odds of noise grow: that of the model, or one that grows with the number of tokens."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    mu = low + (high - low) * (tokens - few) / (many - few)
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)


class FlowRefiner(DiffusionRefiner):
    """A `Refiner` over a flow matching transformer, `parts.unet`.

    Attributes:
        guided: whether guidance is classifier-free, from the prompt and away from the negative one.
    """

    guided = True

    def __init__(self, network: Any, text: Any, source: FlowParts, family: Family) -> None:
        """
        Args:
            network: the transformer.
            text: `text(prompt, negative=...)`, with its encoders in `networks`.
            source: where both are from, for the rest.
        """
        parts = Components(
            network,
            source.codec(),
            source.scheduler,
            text,
            conditioned=False,
            fixed=source.fixed,
            about=source.about,
        )
        super().__init__(parts, device=source.device, dtype=source.dtype, name=source.name)
        self.multiple = family.multiple
        self.tile_sides = tile_sides(family.native)
        self.habits = family.habits

    def _tile_bytes(self, tile: Size) -> int:
        config = self._parts.unet.config
        width = config["num_attention_heads"] * config["attention_head_dim"]
        return self._tokens(tile) * width * _ACTIVATIONS * self._dtype.itemsize

    def _tokens(self, tile: Size) -> int:
        return (tile.width // self.multiple) * (tile.height // self.multiple)

    def _sampler(self, sampling: Sampling, tile: Size) -> FlowSampler:
        return FlowSampler(
            sampling.scheduler,
            self._parts.scheduler,
            strength=sampling.strength,
            steps=sampling.steps,
            tokens=self._tokens(tile),
            device=self._device,
        )

    def _predictor(
        self, sampling: Sampling, base: torch.Tensor, pixels: torch.Tensor
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        prompts, views = self._prompts(sampling, len(base), guided=self.guided and sampling.guidance > 1)

        def predict(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            inputs = sample.to(self._dtype).repeat(views, 1, 1, 1)
            times = timestep.expand(len(inputs))
            output = self._velocity(inputs, times, prompts, sampling).float()
            if views == 1:
                return output
            wanted, unwanted = output.chunk(2)
            return unwanted + sampling.guidance * (wanted - unwanted)

        return predict

    @abstractmethod
    def _velocity(
        self, sample: torch.Tensor, timestep: torch.Tensor, prompt: Prompt, sampling: Sampling
    ) -> torch.Tensor:
        """The network's velocity, (B, C, h, w).

        Args:
            sample: (B, C, h, w) in the network's number format.
            timestep: (B,) sigma * 1000, float32.
            prompt: states (B, tokens, width) and summary (B, width).
        """
