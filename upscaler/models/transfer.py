"""Pictures to a device and back, so that neither the processor nor a GPU waits for the other longer than it has to.

A GPU copies by itself from and to memory that is pinned, while the processor goes on. What comes back is waited for where it
is needed. On other devices these are plain copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device, in its number format and layout."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # torch keeps the pinned memory until it has been read


def download(tensor: torch.Tensor) -> Callable[[], NDArray[Any]]:
    """Send a tensor to main memory; what comes back waits for it, in any thread, and gives it as an array."""
    if tensor.device.type != "cuda":
        array = np.ascontiguousarray(tensor.cpu().numpy())
        return lambda: array
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event(blocking=True)  # sleeps; the usual kind would keep a core busy
    arrived.record(torch.cuda.current_stream(tensor.device))

    def wait() -> NDArray[Any]:
        arrived.synchronize()
        return host.numpy()

    return wait
