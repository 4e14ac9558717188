"""The GAN stage in ComfyUI: an UPSCALE_MODEL, or one of our own, in the host's memory management."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch
from comfy import model_management

from ....upscaler import load_upscaler
from ....upscaler.arrays.types import Image
from ....upscaler.models.base import OnStep
from ....upscaler.models.gan.network import HALO, HALOS, GanUpscaler

_BYTES_PER_PIXEL = 384 * 3 * 4  # of the result's width and the input's height; the host's own estimate


class HostUpscaler:
    """An `Upscaler` over a network that lies in the device's memory only while it is used.

    Attributes:
        gan: the network.
        watcher: told of each step before the engine is, at once.
    """

    def __init__(self, network: GanUpscaler, patcher: Any = None) -> None:
        """
        Args:
            patcher: the host's handle of the model, where the host keeps account of such models itself.
        """
        self.scale = network.scale
        self.halo = network.halo
        self.watcher: OnStep | None = None
        self.gan = network
        self._patcher = patcher
        self._placed = True

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """See `Upscaler`."""
        need = image.shape[0] * image.shape[1] * self.scale * _BYTES_PER_PIXEL

        def step(done: int, of: int) -> None:
            for told in (self.watcher, on_step):
                if told is not None:
                    told(done, of)

        with torch.inference_mode():
            if self._patcher is not None:
                model_management.load_models_gpu([self._patcher], memory_required=need, force_full_load=True)
            else:
                model_management.free_memory(need, self.gan.device)
            self.gan.network.model.to(self.gan.device)
            self._placed = True
            with _channels_last(self.gan):
                return self.gan(image, on_step=step)

    def release(self) -> None:
        """Give the device's memory back."""
        if self._patcher is None and self._placed:
            self.gan.network.model.to("cpu")
            self._placed = False


@contextmanager
def _channels_last(gan: GanUpscaler) -> Generator[None, None, None]:
    """Hand the network its input with channels last while the block runs, on a CPU, which its convolutions then keep.

    The weights stay as the host has them. Networks that are not known to be convolutions alone may need the usual order.
    """
    if gan.device.type != "cpu" or gan.network.architecture.id not in HALOS:
        yield
        return

    def order(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])

    hook = gan.network.model.register_forward_pre_hook(order)
    try:
        yield
    finally:
        hook.remove()


def connected(model: Any) -> HostUpscaler:
    """The `Upscaler` over the host's UPSCALE_MODEL, a network of spandrel; run in float32, as the host does."""
    halo = HALOS.get(model.architecture.id, HALO)
    network = GanUpscaler(model, name="upscale_model", halo=halo, device=model_management.get_torch_device())
    return HostUpscaler(network, getattr(model, "patcher", None))


@lru_cache(maxsize=1)
def bundled(name: str) -> HostUpscaler:
    """The `Upscaler` of that name from `upscaler models list`; the last one is kept.

    Raises:
        UpscalerError: there is no such model, or it cannot be run.
    """
    kind = model_management.get_torch_device().type
    with torch.inference_mode(False):  # weights that are made in inference mode could not be moved later
        found = load_upscaler(name, device=kind if kind in ("cuda", "mps") else "cpu")
        return HostUpscaler(cast("GanUpscaler", found))
