"""Networks that take turns on a device whose memory is too small for all of them: one is there, the others wait in main memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Part = str
"""What belongs together: "text", "network" or "codec"."""


class Places:
    """Which part of a model is on its device. A part that is needed comes there, and the one that was there leaves."""

    def __init__(
        self, parts: Mapping[Part, Sequence[Any]], device: torch.device, free: Callable[[torch.device], int]
    ) -> None:
        """
        Args:
            parts: the modules of each part, all of them waiting in main memory.
            free: tells how many bytes can be allocated on a device.
        """
        self._parts = dict(parts)
        self._device = device
        self._free = free
        self._here: Part | None = None

    def bring(self, part: Part) -> None:
        """Have that part on the device, and no other."""
        if part == self._here:
            return
        if self._here is not None:
            self._move(self._here, torch.device("cpu"))
        self._here = None  # also where the next line runs out of memory half way: moving again then moves the rest
        self._move(part, self._device)
        self._here = part

    def room_for(self, part: Part) -> int:
        """Bytes that are free on the device once that part is there."""
        others = 0 if self._here is None or self._here == part else self._bytes(self._here)
        return self._free(self._device) + others - (0 if self._here == part else self._bytes(part))

    def _move(self, part: Part, device: torch.device) -> None:
        for module in self._parts[part]:
            module.to(device)

    def _bytes(self, part: Part) -> int:
        return sum(
            weight.numel() * weight.dtype.itemsize for module in self._parts[part] for weight in module.parameters()
        )
