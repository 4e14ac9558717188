"""Noise of the canvas for the host's samplers: what one position gets depends on nothing but the position."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import numpy as np
import torch

from ....upscaler.geometry import Box
from ....upscaler.tiling.noise import field


class CanvasNoise:
    """The noise under some boxes of the canvas, (batch, channels, height, width) a draw, and a Brownian path of it.

    As a `noise_sampler` of k-diffusion it gives increments of one path over sigma, so that samplers that ask for
    overlapping intervals (DPM++ SDE) get what they need, and others get independent noise for each step. A point
    between two known ones is drawn from the Brownian bridge between them (Øksendal, Stochastic Differential Equations,
    exercise 2.11). The sequence of the questions is that of the schedule, so it is the same for every tile.
    """

    def __init__(self, seed: int, boxes: Sequence[Box], shape: Sequence[int], device: torch.device) -> None:
        """
        Args:
            boxes: in latent cells.
            shape: of the latents; a dimension of frames may stand between channels and height.
        """
        self._seed = seed
        self._boxes = boxes
        self._shape = tuple(shape)
        self._device = device
        self._draws = 0
        self._path: list[tuple[float, torch.Tensor]] = []

    def draw(self) -> torch.Tensor:
        """Standard normal noise that was not drawn before."""
        fields = [field(self._seed, self._draws, box, self._shape[1]) for box in self._boxes]
        self._draws += 1
        return torch.from_numpy(np.stack(fields)).reshape(self._shape).to(self._device)

    def __call__(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        """The path's increment from one sigma to the next, scaled to standard normal noise."""
        start, stop = float(sigma), float(sigma_next)
        if start == stop:
            return self.draw()
        return (self._at(stop) - self._at(start)) / abs(stop - start) ** 0.5

    def _at(self, time: float) -> torch.Tensor:
        times = [known for known, _ in self._path]
        index = bisect(times, time)
        if index and times[index - 1] == time:
            return self._path[index - 1][1]
        if not self._path:
            value = torch.zeros(self._shape, device=self._device)
        elif index in (0, len(times)):
            near, known = self._path[0 if index == 0 else -1]
            value = known + abs(time - near) ** 0.5 * self.draw()
        else:
            (before, low), (after, high) = self._path[index - 1], self._path[index]
            share = (time - before) / (after - before)
            spread = ((time - before) * (after - time) / (after - before)) ** 0.5
            value = torch.lerp(low, high, share) + spread * self.draw()
        self._path.insert(index, (time, value))
        return value
