"""Input consistency behind the real network: what it gains on clean photographs, and that it spares cleaned skies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("spandrel")

from upscaler.arrays import ycc as planes
from upscaler.arrays.resample import resample
from upscaler.geometry import Size
from upscaler.models.gan.load import load_upscaler
from upscaler.stages.consistency import enforce_consistency

Array = NDArray[np.float32]
DATA = Path(__file__).parents[1] / "data"
PHOTOGRAPHS = ("friends", "sunset")
LEVEL = 1 / 255
SMALL, LARGE = Size(96, 96), Size(384, 384)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> Callable[[Array], Array]:
    """The network, which is run once only for a picture; what it gives may be changed."""
    upscaler = load_upscaler("realesrgan-x4plus", device="cpu")
    known: dict[bytes, Array] = {}

    def run(image: Array) -> Array:
        key = image.tobytes()
        if key not in known:
            known[key] = upscaler(image)
        return known[key].copy()

    return run


def truth(name: str) -> PIL.Image.Image:
    with PIL.Image.open(DATA / f"{name}.jpg") as file:
        return file.convert("RGB")


def quarter(name: str) -> PIL.Image.Image:
    whole = truth(name)
    return whole.resize((whole.width // 4, whole.height // 4), PIL.Image.Resampling.BICUBIC)


def as_array(picture: PIL.Image.Image) -> Array:
    return np.asarray(picture, np.float32) / 255


def psnr(a: Array, b: Array) -> float:
    return float(-10 * np.log10(np.square(np.clip(a, 0, 1) - b).mean()))


def deviation(image: Array, mask: NDArray[np.bool_]) -> list[float]:
    """Standard deviation of luma and chroma about their local mean (about 13 pixels wide) in a part of a picture."""
    return [float((plane - planes.smooth(plane, 4))[mask].std()) for plane in planes.split(image)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_gains_a_decibel_on_clean_photographs(name: str, network: Callable[[Array], Array]) -> None:
    expected, source = as_array(truth(name)), as_array(quarter(name))
    plain = network(source)
    full = plain.copy()
    for _ in range(2):  # back-projection without a gate
        full += resample(source - resample(full, SMALL), LARGE)
    result = plain.copy()
    enforce_consistency(result, source)
    gain = psnr(result, expected) - psnr(plain, expected)
    assert gain > 1
    assert gain > 0.9 * (psnr(full, expected) - psnr(plain, expected))
    assert psnr(resample(result, SMALL), source) > 45


@pytest.mark.parametrize("tables_known", [True, False])
@pytest.mark.parametrize("quality", [80, 40])
def test_spares_skies_that_the_network_cleaned(
    quality: int, tables_known: bool, network: Callable[[Array], Array]
) -> None:
    buffer = io.BytesIO()
    quarter("sunset").save(buffer, "JPEG", quality=quality)
    picture = PIL.Image.open(buffer)
    tables = [list(table) for table in picture.quantization.values()] if tables_known else None
    source, expected = as_array(picture.convert("RGB")), as_array(truth("sunset"))
    plain = network(source)
    result = plain.copy()
    enforce_consistency(result, source, quantisation=tables)

    luma = planes.split(expected)[0]
    flat = planes.smooth(np.square(luma - planes.smooth(luma, 4)), 4) < np.square(2 * LEVEL)
    assert flat.mean() > 0.2
    for before, after in zip(deviation(plain, flat), deviation(result, flat), strict=True):
        assert after < 1.2 * before
    assert psnr(result, expected) > psnr(plain, expected) + 0.2
