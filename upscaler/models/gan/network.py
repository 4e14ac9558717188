"""The GAN stage: any super-resolution network that spandrel knows, as an `Upscaler`.

A model file is data and never code: safetensors, or a pickle read by torch's weights-only unpickler.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from spandrel import ImageModelDescriptor, ModelLoader, canonicalize_state_dict

from ... import weights
from ...arrays.types import Image
from ...errors import SettingsError, UnsupportedModel, WeightsError
from ..base import Enlarger, OnStep
from ..device import memory_errors, pick_device, pick_dtype
from ..layers import after_each, layers_with_weights

Network = ImageModelDescriptor[torch.nn.Module]
StateDict = dict[str, Any]

HALOS = {"ESRGAN": 48, "Compact": 24}
"""Halo by spandrel's architecture for models without a measured one: that of the bundled model for the deepest
ESRGAN; twice that of the bundled Compact, as there are some with twice its layers."""
HALO = 48
"""Halo of any other architecture: no less than the largest one measured."""

SMALLEST = 16
"""Smaller pictures are padded to this by reflection: networks pad with black, which would be most of what they see."""

MEAN_DEVIATION, MAX_DEVIATION = 1 / 255, 16 / 255
"""How far a number format may be from float32 on the probe. The bundled models in bfloat16: mean 0.5, max 5 (1/255)."""

DIFFUSION_KEYS = ("model.diffusion_model.", "down_blocks.", "encoder.down_blocks.", "double_blocks.", "lora_", "unet.")


def load_upscaler(
    name_or_path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> GanUpscaler:
    """The super-resolution model of that name or path, ready to run.

    It is run once on a small patch in float32. A faster number format is taken only if it agrees with that.

    Args:
        name_or_path: as for `upscaler.weights.get`.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16 or float16.

    Raises:
        SettingsError: no such device or precision, or the model does not work in that precision.
        WeightsNotFound: there is no such model.
        ChecksumMismatch: a bundled file is damaged.
        UnsupportedModel: the file holds no super-resolution model.
    """
    place = pick_device(device)
    dtype = pick_dtype(place, precision)
    model = weights.get(name_or_path, "gan")
    weights.verify(model)
    network = read_network(model.path)
    exact = GanUpscaler(network, name=model.name, halo=_halo_of(model, network), device=place)
    probe = _probe()
    try:
        reference = exact.forward(probe)
    except NotFinite:
        raise UnsupportedModel(f"{model.path}: its output is not finite; the file is damaged") from None
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UnsupportedModel(f"{model.path}: does not run ({_first_line(error)})") from None
    if reference.shape != (probe.shape[0] * exact.scale, probe.shape[1] * exact.scale, 3):
        raise UnsupportedModel(f"{model.path}: does not enlarge exactly {exact.scale} times")
    if dtype is torch.float32:
        return exact
    return _faster(exact, dtype, probe, reference) or _refuse_precision(exact, precision)


def describe(model: weights.Model) -> Enlarger:
    """What a plan needs to know of a network that is in no manifest. Raises: UnsupportedModel."""
    network = read_network(model.path)
    return Enlarger(network.scale, _halo_of(model, network))


def _halo_of(model: weights.Model, network: Network) -> int:
    return model.halo if model.halo is not None else HALOS.get(network.architecture.id, HALO)


def _faster(exact: GanUpscaler, dtype: torch.dtype, probe: Image, reference: Image) -> GanUpscaler | None:
    """The same model in `dtype`, if it agrees with the reference; with channels last, or else in the usual layout."""
    network = exact.network
    if not (network.supports_bfloat16 if dtype is torch.bfloat16 else network.supports_half):
        return None
    for layout in (torch.channels_last, torch.contiguous_format):
        fast = GanUpscaler(
            copy.deepcopy(network), name=exact.name, halo=exact.halo, device=exact.device, dtype=dtype, layout=layout
        )
        try:
            deviation = np.abs(fast.forward(probe) - reference)
        except (NotFinite, RuntimeError):  # RuntimeError: an operation that the device lacks, or a view of this layout
            continue
        if deviation.mean() <= MEAN_DEVIATION and deviation.max() <= MAX_DEVIATION:
            return fast
    return None


def _refuse_precision(exact: GanUpscaler, precision: str) -> GanUpscaler:
    if precision == "auto":
        return exact
    raise SettingsError(f"precision: {exact.name} does not work in {precision} on {exact.device}; use auto or float32")


class GanUpscaler:
    """An `Upscaler` over a network of spandrel: one call is one forward pass.

    Networks for RGB, for one channel (each colour channel goes through on its own) and for RGB with alpha (made
    opaque) are supported.

    Attributes:
        name: as in `upscaler models list`, or the file's name.
        scale: factor by which it enlarges.
        halo: context in input pixels that a tile needs on each side.
        device, dtype: where it runs, and in which number format.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        halo: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.name = name
        self.scale = network.scale
        self.halo = halo
        self.device = device
        self.dtype = dtype
        self.network = network
        self._layout = layout
        network.model.eval().requires_grad_(False)
        network.model.to(device=device, dtype=dtype, memory_format=layout)  # pyright: ignore[reportCallIssue]

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """`image` (H, W, 3) enlarged to (H * scale, W * scale, 3); float32 in [0, 1] both.

        A result that is not finite is computed again in float32. A step is one layer of the network.

        Raises:
            OutOfMemory: the picture does not fit at once.
            WeightsError: the result is not finite in float32 either.
        """
        try:
            with _steps(self.network, on_step):
                return self.forward(image)
        except NotFinite:
            pass
        exact = GanUpscaler(copy.deepcopy(self.network), name=self.name, halo=self.halo, device=self.device)
        try:
            return exact.forward(image)
        except NotFinite:
            raise WeightsError(f"{self.name}: its output is not finite, even in float32; use another model") from None

    def forward(self, image: Image) -> Image:
        """As a call, but without the second try.

        Raises:
            NotFinite: the result has a NaN or an infinity.
        """
        height, width = image.shape[:2]
        wide, high = max(width, SMALLEST), max(height, SMALLEST)
        more_x, more_y = self.network.size_requirements.get_padding(wide, high)
        top, left = (high + more_y - height) // 2, (wide + more_x - width) // 2
        bottom, right = high + more_y - height - top, wide + more_x - width - left
        padded = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="reflect")
        with memory_errors(self.device, f"{self.name}: a picture of {width}x{height}", "use smaller tiles"):
            batch = torch.as_tensor(padded).permute(2, 0, 1)[None].to(self.device, self.dtype)
            result = self._run(batch)[0].permute(1, 2, 0).float().cpu().numpy()
        top, left = top * self.scale, left * self.scale
        cropped = result[top : top + height * self.scale, left : left + width * self.scale]
        return np.ascontiguousarray(cropped)

    def _run(self, batch: torch.Tensor) -> torch.Tensor:
        """(1, 3, h, w) through a network of 1, 3 or 4 channels: (1, 3, h * scale, w * scale), in [0, 1]."""
        channels = self.network.input_channels
        if channels == 1:
            return torch.cat([self._network(batch[:, i : i + 1]) for i in range(3)], dim=1)
        if channels == 4:
            batch = torch.cat([batch, torch.ones_like(batch[:, :1])], dim=1)
        return self._network(batch)[:, :3]

    def _network(self, batch: torch.Tensor) -> torch.Tensor:
        return self.network(batch.contiguous(memory_format=self._layout))


@contextmanager
def _steps(network: Network, on_step: OnStep | None) -> Generator[None, None, None]:
    """Call `on_step` after each layer with weights while the block runs."""
    if on_step is None:
        yield
        return
    layers = layers_with_weights(network.model)
    total = len(layers) * (3 if network.input_channels == 1 else 1)
    done = itertools.count(1)

    with after_each(layers, lambda: on_step(min(next(done), total), total)):
        yield


class NotFinite(ArithmeticError):
    """A network's output has a NaN or an infinity."""


def _refuse_infinity(module: torch.nn.Module, inputs: Any, output: Any) -> None:
    """Forward hook: spandrel clamps to [0, 1] after it, which would make white pixels of infinities."""
    first = cast(torch.Tensor, output[0] if isinstance(output, tuple) else output)
    if not torch.isfinite(first).all():
        raise NotFinite


def read_network(path: Path) -> Network:
    """The network in a model file, in float32 on the CPU.

    Raises:
        UnsupportedModel: the file is not a super-resolution or restoration model; says what is wrong with it.
    """
    state = read_state_dict(path)
    diffusion = next((key for key in state if key.startswith(DIFFUSION_KEYS)), None)
    if diffusion is not None:
        raise UnsupportedModel(
            f"{path}: this is a diffusion model (it has {diffusion!r}), not a super-resolution model; "
            "give a diffusion model in diffusers folder format to --model"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the architectures' own code, nothing that its user could act on
            network = ModelLoader().load_from_state_dict(state)
    except Exception as error:  # a state dict that only looks like a known one fails in any way
        raise UnsupportedModel(
            f"{path}: no architecture that spandrel knows fits these weights ({_first_line(error)})"
        ) from None
    if not isinstance(network, ImageModelDescriptor) or network.purpose == "FaceSR":
        raise UnsupportedModel(
            f"{path}: this {network.architecture.name} model is for {network.purpose}, not for super-resolution"
        )
    channels = network.input_channels, network.output_channels
    if channels not in ((1, 1), (3, 3), (4, 4)):
        raise UnsupportedModel(
            f"{path}: makes {channels[1]} channels of {channels[0]}; 1, 3 or 4 of as many are supported"
        )
    network.model.register_forward_hook(_refuse_infinity)
    return network


def read_state_dict(path: Path) -> StateDict:
    """Names and tensors of a model file; nothing in it is executed.

    Raises:
        UnsupportedModel: it cannot be read as such.
    """
    if path.is_dir():
        raise UnsupportedModel(f"{path}: this is a folder; the GAN stage needs a .safetensors or .pth file")
    try:
        if path.suffix.lower() == ".safetensors":
            return canonicalize_state_dict(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UnsupportedModel(f"{path}: not a whole safetensors file ({_first_line(error)})") from None
    except Exception as error:  # what a damaged or hostile pickle raises has no bounds
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for code ({code[1]}), which is never run" if code else "not a file of weights"
        raise UnsupportedModel(f"{path}: {reason}; use a .safetensors file or a plain state dict in .pth") from None
    if not isinstance(loaded, dict):
        raise UnsupportedModel(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    return canonicalize_state_dict(cast(StateDict, loaded))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _probe(side: int = 32) -> Image:
    """A small picture with flat areas, gradients, edges and colours, always the same."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(5 * x + 3 * y), np.cos(4 * y - 2 * x), np.sin(6 * x * y)], axis=-1)
    stripes = ((2 * x + 3 * y) % 1 < 0.4)[..., None]
    return (0.5 + 0.3 * waves + 0.3 * stripes * np.array((1, 0.5, -1))).clip(0, 1).astype(np.float32)
