"""What a network takes of a GPU's memory at work, measured by evaluating it once on one tile and once on two.

No formula knows this: it depends on attention kernels, on convolutions that trade memory for time, and on the allocator.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch

Run = Callable[[int], object]
"""Evaluates the network on so many tiles."""
Meter = Callable[[Callable[[], object]], int]
"""Runs a call; how many bytes more than before it had taken at its peak."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a batch takes.

    Attributes:
        least: bytes without which not even one tile can be drawn.
        each: for each tile of a batch.
        fixed: beside that, for a batch of any size; below 0 where the first tile takes less than the others.
    """

    least: int
    each: int
    fixed: int = 0

    def batch(self, free: float) -> int:
        """How many tiles that memory is enough for."""
        return 0 if free < self.least else max(int(free - self.fixed) // max(self.each, 1), 0)

    def __str__(self) -> str:
        return f"{self.least} {self.each} {self.fixed}"

    @classmethod
    def read(cls, text: str | None) -> Cost | None:
        """What `str` gave; `None` for anything else."""
        with suppress(ValueError):
            least, each, fixed = map(int, (text or "").split())
            return cls(least, each, fixed)
        return None


def measure(run: Run, alone: Callable[[], object], meter: Meter) -> Cost:
    """What batches take.

    Args:
        run: the part that is done for all tiles of a batch at once.
        alone: all that is done for a batch of one tile.

    Raises:
        RuntimeError, MemoryError: memory ran out.
    """
    alone()  # once for what libraries keep from their first call on
    run(1)
    one, two = (meter(partial(run, tiles)) for tiles in (1, 2))
    return Cost(meter(alone), two - one, 2 * one - two)


def meter_of(device: torch.device) -> Meter | None:
    """That of a GPU, where what other threads take on it meanwhile counts too; `None` where nothing tells."""
    if device.type != "cuda":
        return None

    def meter(call: Callable[[], object]) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before

    return meter
