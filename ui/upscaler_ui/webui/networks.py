"""The networks of the first stage: ours and the host's, as `Upscaler`s that the host's Interrupt stops."""

from __future__ import annotations

from typing import Any

import numpy as np
from modules import devices, shared
from PIL import Image as Pillow

from ....upscaler import load_upscaler, weights
from ....upscaler.arrays.quantise import quantise, to_float
from ....upscaler.arrays.types import Image
from ....upscaler.errors import Cancelled
from ....upscaler.models.base import OnStep, Upscaler

NONE = "none"
HALO = 48
"""Context that the host's networks get: no less than the largest one measured on ours."""

_GRID = 8  # the host rounds sides of its results down to multiples of this and squeezes the picture into them


def names() -> list[str]:
    """What the first stage can be: none, our networks, then the host's."""
    ours = [NONE, *(model.name for model in weights.usable("gan"))]
    theirs = (data.name for data in shared.sd_upscalers if data.name != "None")
    return list(dict.fromkeys([*ours, *theirs]))


def load(name: str) -> Upscaler | None:
    """The network of that name, ready to run; `None` for "none"."""
    if name == NONE:
        return None
    for data in shared.sd_upscalers:
        if data.name == name:
            return HostUpscaler(data)
    device = str(devices.device) if devices.device.type in ("cuda", "mps") else "cpu"
    return Stoppable(load_upscaler(name, device=device))


def interrupted() -> bool:
    """Whether the user pressed Interrupt."""
    return shared.state.interrupted or shared.state.stopping_generation


def raise_if_interrupted() -> None:
    """Raises `Cancelled` where the user pressed Interrupt."""
    if interrupted():
        raise Cancelled("interrupted")


class Stoppable:
    """A network of ours that stops within one of its layers."""

    def __init__(self, network: Upscaler) -> None:
        self.scale = network.scale
        self.halo = network.halo
        self.gan = network

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        def step(done: int, total: int) -> None:
            raise_if_interrupted()
            if on_step is not None:
                on_step(done, total)

        raise_if_interrupted()
        return self.gan(image, on_step=step)


class HostUpscaler:
    """An entry of the host's list of upscalers; its pictures have 8 bits."""

    def __init__(self, data: Any) -> None:
        self.scale = max(int(data.scale), 1)
        self.halo = HALO
        self._data = data

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        raise_if_interrupted()
        height, width = image.shape[:2]
        least = int(getattr(shared.opts, "ESRGAN_tile", 0))  # the host fills up smaller pictures with black
        below, beside = (max(-(-side // _GRID) * _GRID, least) - side for side in (height, width))
        padded = np.pad(image, ((0, below), (0, beside), (0, 0)), mode="symmetric")
        picture = Pillow.fromarray(quantise(padded, dither=False))
        large = self._data.scaler.upscale(picture, self.scale, self._data.data_path)
        raise_if_interrupted()
        pixels = to_float(np.asarray(large.convert("RGB")))
        return np.ascontiguousarray(pixels[: height * self.scale, : width * self.scale])
