"""What every `Upscaler` promises, checked on each implementation there is."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from upscaler.arrays.types import Image
from upscaler.errors import SettingsError
from upscaler.geometry import Size
from upscaler.models.base import Upscaler
from upscaler.testing import NearestUpscaler

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))
import comfyui
import webui

torch = pytest.importorskip("torch")

PHOTO = Path(__file__).parents[2] / "examples" / "photo.png"


def bundled(name: str, precision: str) -> Callable[[Path], Upscaler]:
    def make(_: Path) -> Upscaler:
        from upscaler.models.gan.load import load_upscaler

        return load_upscaler(name, device="cpu", precision=precision)

    return make


def realesrganer(name: str) -> Callable[[Path], Upscaler]:
    def make(_: Path) -> Upscaler:
        from upscaler.models.gan.realesrgan import import_realesrgan, load_realesrganer

        try:
            import_realesrgan()
        except SettingsError as error:
            pytest.skip(str(error))
        return load_realesrganer(name, device="cpu")

    return make


def of_comfyui(architecture: str, **options: object) -> Callable[[Path], Upscaler]:
    """The host's UPSCALE_MODEL is a network of spandrel; newer hosts keep a handle of it."""

    def make(folder: Path) -> Upscaler:
        network = random_network(architecture, **options)(folder).network  # type: ignore[attr-defined]
        network.patcher = object()
        return comfyui.part("gan").connected(network)

    return make


def random_network(architecture: str, **options: object) -> Callable[[Path], Upscaler]:
    """A file with random weights of an architecture of spandrel's, loaded as a user's model is."""

    def make(folder: Path) -> Upscaler:
        from safetensors.torch import save_file

        from upscaler.models.gan.load import load_upscaler

        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = getattr(importlib.import_module(f"spandrel.architectures.{architecture}"), architecture)(
                **options
            )
        path = folder / "random.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        return load_upscaler(path, device="cpu", precision="float32")

    return make


COMPACT = {"num_feat": 8, "num_conv": 2}
SWIN = {"window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2], "mlp_ratio": 2}

MAKERS: dict[str, tuple[int, Callable[[Path], Upscaler]]] = {
    "nearest x1": (1, lambda _: NearestUpscaler(1)),
    "nearest x4": (4, lambda _: NearestUpscaler(4)),
    "realesrgan-x4plus": (4, bundled("realesrgan-x4plus", "float32")),
    "realesrgan-x4plus, auto": (4, bundled("realesrgan-x4plus", "auto")),
    "realesrgan-x4plus-anime": (4, bundled("realesrgan-x4plus-anime", "float32")),
    "realesr-animevideov3": (4, bundled("realesr-animevideov3", "float32")),
    "realesr-animevideov3, auto": (4, bundled("realesr-animevideov3", "auto")),
    "RealESRGANer, realesrgan-x4plus-anime": (4, realesrganer("realesrgan-x4plus-anime")),
    "RealESRGANer, realesr-animevideov3": (4, realesrganer("realesr-animevideov3")),
    "Compact x1": (1, random_network("Compact", upscale=1, **COMPACT)),
    "Compact x2": (2, random_network("Compact", upscale=2, **COMPACT)),
    "Compact x3": (3, random_network("Compact", upscale=3, **COMPACT)),
    "Compact x8": (8, random_network("Compact", upscale=8, **COMPACT)),
    "ComfyUI, Compact x2": (2, of_comfyui("Compact", upscale=2, **COMPACT)),
    "ComfyUI, bundled": (4, lambda _: comfyui.part("gan").bundled("realesr-animevideov3")),
    "WebUI, x2": (2, lambda _: webui.upscaler("Double", 2)),
    "WebUI, x4 in two runs": (4, lambda _: webui.upscaler("Double", 4)),
    "WebUI, bundled": (4, lambda _: webui.upscaler("realesr-animevideov3")),
    "ESRGAN x2, folded": (
        2,
        random_network("ESRGAN", num_filters=8, num_blocks=1, in_nc=12, scale=4, shuffle_factor=2),
    ),
    "ESRGAN x2, one channel": (2, random_network("ESRGAN", num_filters=8, num_blocks=1, in_nc=1, out_nc=1, scale=2)),
    "ESRGAN x2, with alpha": (2, random_network("ESRGAN", num_filters=8, num_blocks=1, in_nc=4, out_nc=4, scale=2)),
    "SwinIR x2, multiples of 8": (2, random_network("SwinIR", upscale=2, upsampler="pixelshuffledirect", **SWIN)),
}


SLOW = {"realesrgan-x4plus"}  # float32 on a CPU; "auto" is the same network in bfloat16 where there is hardware for it


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MAKERS],
    ids=str,
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Upscaler]:
    scale, make = MAKERS[request.param]
    return scale, make(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def upscaler(case: tuple[int, Upscaler]) -> Upscaler:
    return case[1]


def photograph(size: Size) -> Image:
    """The middle of the bundled photograph."""
    with PIL.Image.open(PHOTO) as file:
        left, top = (file.width - size.width) // 2, (file.height - size.height) // 2
        crop = file.convert("RGB").crop((left, top, left + size.width, top + size.height))
    return np.asarray(crop, np.float32) / 255


def test_it_follows_the_protocol(case: tuple[int, Upscaler]) -> None:
    scale, upscaler = case
    assert isinstance(upscaler, Upscaler)
    assert upscaler.scale == scale
    assert upscaler.halo >= 0


@pytest.mark.parametrize("size", [Size(1, 1), Size(2, 1), Size(3, 7), Size(7, 3), Size(33, 18), Size(1, 40)], ids=str)
def test_any_size_comes_out_exactly_scaled(upscaler: Upscaler, size: Size) -> None:
    image = photograph(size)
    result = upscaler(image)
    assert result.shape == (size.height * upscaler.scale, size.width * upscaler.scale, 3)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_it_neither_changes_nor_keeps_its_input(upscaler: Upscaler) -> None:
    image = photograph(Size(20, 16))
    before = image.copy()
    image.flags.writeable = False
    result = upscaler(image)
    assert np.array_equal(image, before)
    assert not np.shares_memory(result, image)
    result[:] = 0  # writable, and no later result is made of it
    assert upscaler(image).any()


def test_it_is_deterministic(upscaler: Upscaler) -> None:
    image = photograph(Size(40, 24))
    first = upscaler(image)
    upscaler(photograph(Size(16, 31)))
    assert np.array_equal(upscaler(image), first)


def test_a_crop_need_not_be_contiguous(upscaler: Upscaler) -> None:
    image = photograph(Size(40, 40))
    crop = image[3:30:2, 5:38:3]
    assert not crop.flags.c_contiguous
    assert np.array_equal(upscaler(crop), upscaler(np.ascontiguousarray(crop)))


def test_two_tiles_with_their_halo_make_the_whole(upscaler: Upscaler) -> None:
    """The mean difference to the whole picture in one pass is below 0.1/255, at a joint without any cross-fade.

    In bfloat16 no two sizes of a picture give the same bits, joint or not: all of it may be off by half a level.
    """
    half, halo, scale = 24, -(-upscaler.halo // 8) * 8, upscaler.scale  # SwinIR's windows lie on a grid of 8
    image = photograph(Size(2 * (halo + half), 16))
    middle = halo + half
    left = upscaler(image[:, : middle + halo])[:, : middle * scale]
    right = upscaler(image[:, middle - halo :])[:, halo * scale :]
    difference = np.abs(np.concatenate([left, right], axis=1) - upscaler(image))
    exact = getattr(getattr(upscaler, "gan", upscaler), "dtype", torch.float32) is torch.float32
    assert difference.mean() * 255 < (0.1 if exact else 0.5)
    assert difference.max() * 255 < 16
