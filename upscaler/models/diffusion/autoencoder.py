"""The autoencoders of diffusers, with one call for every kind of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from ... import families, weights
from ...arrays.store import IN_MEMORY, Store
from ...errors import SettingsError, UnsupportedModel
from ...text import one_line
from ..device import convert, free_memory, is_out_of_memory
from .folder import load_vae_folder
from .footprint import CODING_MAPS
from .mixed import mix
from .single import build_vae
from .states import read_state
from .strips import InStrips

_PREFIX = "first_stage_model."
_IN_STRIPS = 4.5  # maps of the first level's width at full resolution that decoding in strips holds at its peak
_PART = 0.8  # of the free memory that it may take
_PARTS = ("encoder.", "decoder.", "taesd_")


def ready_codec(vae: Any, device: torch.device, dtype: torch.dtype) -> VaeCodec:
    """An autoencoder as it runs fastest beside a network in that number format, without gradients.

    On a processor that is fast in bfloat16 its convolutions take part in that; all of it in bfloat16 would show.
    """
    if device.type == "cpu":
        if dtype == torch.bfloat16 and isinstance(vae, AutoencoderKL):
            vae = mix(vae, dtype)
        vae = vae.to(memory_format=torch.channels_last)
    return VaeCodec(vae.to(device).eval().requires_grad_(False))


class VaeCodec:
    """diffusers' `AutoencoderKL` (the mean of its posterior, so nothing is random) or `AutoencoderTiny`.

    Attributes:
        limit: bytes of its device that this process may take; `None` is what is free.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.factor = 2 ** (len(vae.config.get("block_out_channels", vae.config.get("encoder_block_out_channels"))) - 1)
        self.latent_channels = int(vae.config["latent_channels"])
        self.limit: int | None = None
        self._width = int(vae.config.get("block_out_channels", vae.config.get("decoder_block_out_channels"))[0])
        self._scale = float(vae.config.get("scaling_factor") or 1.0)
        self._shift = float(vae.config.get("shift_factor") or 0.0)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        strips = self._strips(image.shape[-1] * image.shape[-2])
        if strips is not None:
            latents = strips.encode(image)[:, : self.latent_channels]
        else:
            coded = self._vae.encode(image.to(self._vae.dtype))
            latents = coded.latent_dist.mode() if hasattr(coded, "latent_dist") else coded.latents
        return (latents.float() - self._shift) * self._scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents / self._scale + self._shift
        strips = self._strips(latents.shape[-1] * latents.shape[-2] * self.factor**2)
        if strips is not None:
            return strips.decode(latents).float()
        return self._vae.decode(latents.to(self._vae.dtype)).sample.float()

    def work_bytes(self, pixels: int) -> int:
        """Bytes that it takes at work on so many pixels, beside itself."""
        return round(pixels * CODING_MAPS * self._each)

    @property
    def _each(self) -> float:
        """Bytes for each pixel of one map of the first level's width."""
        return self._width * self._vae.dtype.itemsize

    def _strips(self, pixels: int) -> InStrips | None:
        """The same in strips, for so many pixels that it would not fit at once; their maps are where there is room.

        That is the device, or main memory, or the disk.
        """
        device, cpu = self._vae.device, torch.device("cpu")
        if self.work_bytes(pixels) <= free_memory(device, self.limit) * _PART or not InStrips.can(self._vae):
            return None
        needed = pixels * _IN_STRIPS * self._each
        if needed <= free_memory(device, self.limit) * _PART:
            return InStrips(self._vae)
        in_memory = needed <= free_memory(cpu) * _PART
        return InStrips(self._vae, store=IN_MEMORY if in_memory else Store(Path(tempfile.gettempdir())))

    @property
    def network(self) -> Any:
        """The autoencoder itself."""
        return self._vae

    def to(self, dtype: torch.dtype) -> VaeCodec:
        convert(self._vae, dtype)
        return self


def load_vae(name: str, config: Path, dtype: torch.dtype, *, allow_pickle: bool = False) -> Any:
    """The autoencoder of that name, or in that file or folder: `AutoencoderKL` or `AutoencoderTiny` (TAESD).

    Args:
        name: a folder in diffusers format, or a file under the names of diffusers, of the original code or of TAESD.
        config: folder with the config of the model's own `AutoencoderKL`; a file does not say how latents are scaled.

    Raises:
        WeightsNotFound: there is nothing of that name.
        UnsupportedModel: it is no autoencoder.
        SettingsError: it is a pickle, and they are not allowed.
    """
    path = weights.find(name, "vae")
    try:
        if path.is_dir():
            return load_vae_folder(path / "vae" if (path / "vae").is_dir() else path, dtype)
        state = read_state(path, allow_pickle=allow_pickle)
        inner = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)} or state
        if not any(key.startswith(_PARTS) for key in inner):
            raise UnsupportedModel(f"{name}: is not an autoencoder (VAE); it {families.contents_of(path).problem}")
        vae = build_vae(inner, config, dtype)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, SettingsError) or is_out_of_memory(error):
            raise
        raise UnsupportedModel(f"{name}: cannot be loaded as an autoencoder (VAE): {one_line(error)}") from error
    return vae
