"""The package `realesrgan` behind our protocol: its `RealESRGANer`, on its own networks, as an `Upscaler`.

For those who want exactly that implementation; `load_upscaler` runs the same weights without it. Install with
`pip install --no-build-isolation "tiled-diffusion-upscaler[realesrgan]"`.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import weights
from ...arrays.types import Image
from ...errors import SettingsError, UnsupportedModel
from ..base import OnStep
from ..device import loading, memory_errors, pick_device
from ..sharing import Turns
from .network import HALO, HALOS
from .read import StateDict, read_state_dict

RRDBNET_SCALES = {3: 4, 12: 2, 48: 1}  # by input channels: below x4 the picture is folded into channels first
SIDE_MULTIPLES = {2: 2, 1: 4}  # by scale


class RealESRGANerUpscaler:
    """An `Upscaler` over `RealESRGANer`: one call is one pass without its own tiling or padding.

    Attributes: as those of `GanUpscaler`.
    """

    def __init__(self, engine: Any, *, name: str, scale: int, halo: int, device: torch.device) -> None:
        self.name = name
        self.scale = scale
        self.halo = halo
        self.device = device
        self._engine = engine
        self._turns = Turns()

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """`image` (H, W, 3) enlarged to (H * scale, W * scale, 3); float32 in [0, 1] both.

        The three steps of `RealESRGANer.enhance` without its rounding to 8 bits.

        Raises:
            OutOfMemory: the picture does not fit at once.
        """
        height, width = image.shape[:2]
        multiple = SIDE_MULTIPLES.get(self.scale, 1)  # its own padding fails on very small pictures
        padded = np.pad(image, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
        what = f"{self.name}: a picture of {width}x{height}"
        clear = memory_errors(self.device, what, "use smaller tiles")
        with self._turns.turn(), clear, torch.inference_mode():
            self._engine.pre_process(padded)
            self._engine.process()
            result: torch.Tensor = self._engine.post_process()
        whole = result[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(whole[: height * self.scale, : width * self.scale])


def load_realesrganer(
    name_or_path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> RealESRGANerUpscaler:
    """`RealESRGANer` with a model of the families that it has networks for, RRDBNet and SRVGGNetCompact.

    Args:
        precision: auto (float16 on CUDA, else float32), float32 or float16.

    Raises:
        SettingsError: the package is not installed, or it has no such device or precision.
        WeightsError: as from `load_upscaler`.
    """
    place = pick_device(device)
    if precision not in ("auto", "float32", "float16"):
        raise SettingsError(f"precision: RealESRGANer has no {precision}; use auto, float32 or float16")
    half = precision == "float16" or (precision == "auto" and place.type == "cuda")
    package = import_realesrgan()
    model = weights.get(name_or_path, "gan")
    weights.verify(model)
    with loading(place, model.name):
        state = read_state_dict(model.path)
        network, scale, architecture = _network(state, model.path)
        with tempfile.TemporaryDirectory() as folder:  # it reads nothing but a .pth file
            path = Path(folder) / "weights.pth"
            torch.save({"params": state}, path)
            engine = package.RealESRGANer(
                scale=scale, model_path=str(path), model=network, tile=0, pre_pad=0, half=half, device=place
            )
    halo = model.halo if model.halo is not None else HALOS.get(architecture, HALO)
    return RealESRGANerUpscaler(engine, name=model.name, scale=scale, halo=halo, device=place)


def import_realesrgan() -> types.ModuleType:
    """The package `realesrgan`, with the module supplied that its dependency basicsr asks of torchvision in vain.

    `torchvision.transforms.functional_tensor` went with torchvision 0.17; basicsr needs one function of it.

    Raises:
        SettingsError: it is not installed.
    """
    missing = "torchvision.transforms.functional_tensor"
    try:
        if missing not in sys.modules:
            shim: Any = types.ModuleType(missing)
            shim.rgb_to_grayscale = importlib.import_module("torchvision.transforms.functional").rgb_to_grayscale
            sys.modules[missing] = shim
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("realesrgan")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the package realesrgan cannot be imported (no module {error.name!r}); "
            'pip install --no-build-isolation "tiled-diffusion-upscaler[realesrgan]"'
        ) from None


def _network(state: StateDict, path: Path) -> tuple[Any, int, str]:
    """The package's own network for a state dict, its scale, and the name that spandrel has for its architecture."""
    blocks = {int(key.split(".")[1]) for key in state if key.startswith("body.") and key.split(".")[1].isdigit()}
    first = state.get("conv_first.weight", state.get("body.0.weight"))
    if first is None or not blocks:
        raise UnsupportedModel(f"{path}: RealESRGANer has networks for RRDBNet and SRVGGNetCompact only")
    features, channels = int(first.shape[0]), int(first.shape[1])
    if "conv_first.weight" in state and channels in RRDBNET_SCALES:
        scale = RRDBNET_SCALES[channels]
        grow = int(state["body.0.rdb1.conv1.weight"].shape[0])
        rrdbnet = importlib.import_module("basicsr.archs.rrdbnet_arch").RRDBNet
        return rrdbnet(3, 3, scale=scale, num_feat=features, num_block=len(blocks), num_grow_ch=grow), scale, "ESRGAN"
    last = max(blocks)
    scale = round((int(state[f"body.{last}.bias"].shape[0]) / 3) ** 0.5)
    compact = importlib.import_module("realesrgan.archs.srvgg_arch").SRVGGNetCompact
    return compact(3, 3, num_feat=features, num_conv=(last - 2) // 2, upscale=scale), scale, "Compact"
