"""All tiles of a canvas denoised together: at every step their predictions are blended, and the canvas takes the step.

    v = sum w_i v_i(x under tile i),   sum w_i = 1

(MultiDiffusion, Bar-Tal et al. 2023, equation 5, with the windows of our plans as weights.) What is blended is what the
network predicts, after guidance, not what a scheduler makes of it: a solver that remembers earlier steps, and one that
adds noise, then sees the canvas alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ...tiling.spans import Span
from ...tiling.tiles import Plan, Tile
from ...tiling.window import window

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(sample, timestep) to what a network predicts."""


class _Window(NamedTuple):
    """Where a tile lies in the latents of a canvas, and how much it counts there, (h, w)."""

    rows: slice
    columns: slice
    weight: torch.Tensor


class Windows:
    """The tiles of a plan, as a network sees the latents of the canvas."""

    def __init__(self, plan: Plan, *, batch: int, factor: int) -> None:
        """
        Args:
            batch: how many tiles the network evaluates at once, at most.
            factor: pixels of a latent cell.
        """
        self.tile = plan.tile
        tiles = [_window(tile, factor) for tile in plan]
        calls = -(-len(tiles) // batch)
        bounds = [round(index * len(tiles) / calls) for index in range(calls + 1)]
        self._members = [range(start, stop) for start, stop in zip(bounds, bounds[1:])]
        self._batches = [[tiles[index] for index in members] for members in self._members]

    def __len__(self) -> int:
        """How many calls of the network one step takes."""
        return len(self._batches)

    def predictor(
        self,
        make: Callable[[Sequence[int], torch.Tensor, torch.Tensor], Predict],
        base: torch.Tensor,
        pixels: torch.Tensor,
        between: Callable[[int], None],
    ) -> Predict:
        """What predicts for the whole canvas.

        Args:
            make: what predicts for some tiles, of their places in the plan, their latents and their pixels.
            base: latents of the canvas, (1, C, h, w).
            pixels: the canvas, (1, 3, H, W).
            between: told after each call of the network but the last of a step how many there were in this step.
        """
        factor = pixels.shape[-1] // base.shape[-1]
        calls = [
            (
                [one._replace(weight=one.weight.to(base.device)) for one in tiles],
                make(members, _cut(base, tiles), _cut(pixels, tiles, factor)),
            )
            for members, tiles in zip(self._members, self._batches)
        ]

        def predict(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            total = torch.zeros_like(sample)
            for index, (tiles, evaluate) in enumerate(calls):
                if index:
                    between(index)
                for (rows, columns, weight), one in zip(tiles, evaluate(_cut(sample, tiles), timestep)):
                    total[0, :, rows, columns] += weight * one
            return total

        return predict


def _window(tile: Tile, factor: int) -> _Window:
    spans: tuple[Span, Span] = (tile.y, tile.x)
    rows, columns = (slice(span.start // factor, span.stop // factor) for span in spans)
    y, x = (window(span).reshape(-1, factor).mean(axis=1) for span in spans)
    return _Window(rows, columns, torch.from_numpy(np.outer(y, x)))


def _cut(canvas: torch.Tensor, tiles: list[_Window], factor: int = 1) -> torch.Tensor:
    grown = partial(_times, factor=factor)
    return torch.cat([canvas[..., grown(rows), grown(columns)] for rows, columns, _ in tiles])


def _times(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)
