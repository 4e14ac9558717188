"""Input consistency: the result scaled down is the input, and compression noise does not come back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from upscaler.arrays import jpeg, strips
from upscaler.arrays import ycc as planes
from upscaler.arrays.resample import resample
from upscaler.geometry import Size
from upscaler.stages.consistency import PLAIN_RADIUS, RADIUS, enforce_consistency
from upscaler.stages.noise_gate import Gate, noise_level

Array = NDArray[np.float32]
DATA = Path(__file__).parents[1] / "data"
TABLE = [list(jpeg.standard_tables(40)[0].ravel()), list(jpeg.standard_tables(40)[1].ravel())]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def photograph(name: str, size: int) -> PIL.Image.Image:
    with PIL.Image.open(DATA / f"{name}.jpg") as file:
        return file.convert("RGB").resize((size, size), PIL.Image.Resampling.BICUBIC)


def as_array(picture: PIL.Image.Image) -> Array:
    return np.asarray(picture, np.float32) / 255


def compressed(picture: PIL.Image.Image, quality: int) -> PIL.Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return PIL.Image.open(buffer).convert("RGB")


def error(canvas: Array, source: Array) -> float:
    return float(np.sqrt(np.square(resample(canvas, Size(source.shape[1], source.shape[0])) - source).mean()))


@pytest.mark.parametrize(("target", "gain"), [(Size(160, 120), 20), (Size(83, 61), 10), (Size(41, 31), 4)])
def test_scaled_down_it_is_the_input(target: Size, gain: float) -> None:
    source = as_array(photograph("friends", 40).crop((0, 0, 40, 30)))
    canvas = resample(source, target)
    canvas += np.float32(0.05) + 0.05 * np.linspace(-1, 1, target.width, dtype=np.float32)[:, None]
    before = error(canvas, source)
    enforce_consistency(canvas, source)
    assert error(canvas, source) < before / gain


def test_strength_scales_the_correction() -> None:
    source = np.full((16, 16, 3), 0.5, np.float32)
    canvas = np.full((64, 64, 3), 0.4, np.float32)
    enforce_consistency(canvas, source, strength=0.5)
    assert np.abs(canvas - 0.475).max() < 1e-5  # two rounds, each halves the error
    before = canvas.copy()
    enforce_consistency(canvas, source, strength=0)
    assert canvas.tobytes() == before.tobytes()


@pytest.mark.parametrize("target", [Size(16, 12), Size(9, 12), Size(16, 11), Size(7, 5)])
def test_nothing_is_done_where_the_canvas_is_no_larger(target: Size) -> None:
    canvas = noise(target.height, target.width)
    before = canvas.copy()
    enforce_consistency(canvas, noise(12, 16, seed=1))
    assert canvas.tobytes() == before.tobytes()


@pytest.mark.parametrize("quantisation", [None, TABLE])
@pytest.mark.parametrize(
    ("source", "target"), [(Size(45, 150), Size(180, 600)), (Size(33, 97), Size(50, 171)), (Size(2, 90), Size(8, 360))]
)
def test_strips_have_the_bytes_of_the_whole(
    source: Size, target: Size, quantisation: list[list[int]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, canvas = noise(source.height, source.width), noise(target.height, target.width, seed=1)
    cut = canvas.copy()
    enforce_consistency(canvas, small, quantisation=quantisation)
    monkeypatch.setattr(strips, "PIXELS", 1)
    enforce_consistency(cut, small, quantisation=quantisation)
    assert cut.tobytes() == canvas.tobytes()


def test_reaches_no_further_than_the_radius() -> None:
    small, canvas = noise(200, 12), noise(400, 24, seed=1)
    other = canvas.copy()
    other[: 2 * 90] = 0
    far = small.copy()
    far[:90] = 0
    enforce_consistency(canvas, small, quantisation=TABLE)
    enforce_consistency(other, far, quantisation=TABLE)
    same = slice(2 * (90 + RADIUS), None)
    assert other[same].tobytes() == canvas[same].tobytes()
    assert other.tobytes() != canvas.tobytes()


def test_with_a_size_it_reaches_less_far() -> None:
    base, canvas = noise(400, 24), noise(400, 24, seed=1)
    other = canvas.copy()
    other[: 2 * 90] = 0
    enforce_consistency(canvas, base, size=Size(12, 200))
    enforce_consistency(other, base, size=Size(12, 200))
    same = slice(2 * (90 + PLAIN_RADIUS), None)
    assert other[same].tobytes() == canvas[same].tobytes()
    assert other.tobytes() != canvas.tobytes()


@pytest.mark.parametrize("target", [Size(1, 1), Size(4, 4), Size(3, 900)])
def test_tiny_and_thin_pictures(target: Size) -> None:
    source = noise(max(target.height // 4, 1), max(target.width // 4, 1))
    for quantisation in (None, TABLE):
        canvas = noise(target.height, target.width)
        enforce_consistency(canvas, source, quantisation=quantisation)
        assert np.isfinite(canvas).all()


def test_a_refined_picture_follows_its_base() -> None:
    base = noise(120, 160)
    canvas = base.copy()
    enforce_consistency(canvas, base, size=Size(40, 30))
    assert canvas.tobytes() == base.tobytes()
    canvas += np.float32(0.1)
    enforce_consistency(canvas, base, size=Size(40, 30))
    assert np.abs(canvas - base).max() < 1e-5


# What is noise


def find_steps(image: Array, tables: list[list[int]] | None = None) -> jpeg.Steps | None:
    return jpeg.find_steps(jpeg.sample(image), tables)


@pytest.mark.parametrize("quality", [30, 60, 80, 90])
@pytest.mark.parametrize("name", ["friends", "sunset"])
def test_finds_the_steps_of_a_compressed_picture(name: str, quality: int) -> None:
    image = as_array(compressed(photograph(name, 160), quality))
    steps = find_steps(image)
    assert steps is not None
    luma, chroma = jpeg.standard_tables(quality)
    assert np.array_equal(np.rint(steps.luma * 255), luma)
    assert np.array_equal(np.rint(steps.chroma * 255), chroma)
    assert steps.origin == (0, 0)


def test_finds_the_blocks_of_a_crop() -> None:
    image = as_array(compressed(photograph("friends", 384), 40))[5:, 2:]
    steps = find_steps(image)
    assert steps is not None
    assert steps.origin == (6, 3)
    known = find_steps(image, TABLE)
    assert known is not None
    assert known.origin == (6, 3)
    assert np.array_equal(known.luma, steps.luma)


@pytest.mark.parametrize("size", [1, 7, 16, 96, 160])
@pytest.mark.parametrize("name", ["friends", "sunset"])
def test_finds_no_steps_in_a_clean_picture(name: str, size: int) -> None:
    assert find_steps(as_array(photograph(name, size))) is None


def test_standard_tables_are_those_of_libjpeg() -> None:
    for quality in (1, 25, 50, 75, 100):
        buffer = io.BytesIO()
        PIL.Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
        luma, chroma = PIL.Image.open(buffer).quantization.values()
        assert [list(table.ravel()) for table in jpeg.standard_tables(quality)] == [luma, chroma]


def gated(difference: Array, source: Array) -> Array:
    result = difference.copy()
    Gate.of(source)(result, source)
    return result


@pytest.mark.parametrize("name", ["friends", "sunset"])
def test_compression_noise_is_not_corrected(name: str) -> None:
    """An original and its decoded JPEG differ by less than half a step: next to nothing is kept."""
    original = photograph(name, 160)
    source = as_array(compressed(original, 40))
    difference = source - as_array(original)
    kept = gated(difference, source)
    assert np.square(kept).mean() < 0.1 * np.square(difference).mean()


def test_a_difference_beyond_the_steps_is_corrected() -> None:
    source = as_array(compressed(photograph("friends", 160), 80))
    difference = source - np.roll(source, 3, axis=1)
    kept = gated(difference, source)
    assert np.sum(kept * difference) > 0.6 * np.sum(difference * difference)


def test_a_difference_from_a_clean_picture_is_corrected() -> None:
    source = as_array(photograph("friends", 160))
    difference = source - np.roll(source, 3, axis=1)
    kept = gated(difference, source)
    assert np.sum(kept * difference) > 0.9 * np.sum(difference * difference)


def test_noise_is_not_put_back_into_a_smooth_picture() -> None:
    clean = as_array(photograph("sunset", 160))
    noise = np.random.default_rng(0).normal(0, 5 / 255, clean.shape).astype(np.float32)
    kept = gated(noise, clean + noise)
    sky = (slice(16, 80), slice(16, 144))
    assert np.abs(planes.split(kept)[0][sky]).mean() < 0.15 * np.abs(planes.split(noise)[0][sky]).mean()


@pytest.mark.parametrize("sigma", [2, 5, 10])
def test_noise_level_is_that_of_the_noise(sigma: float) -> None:
    luma = jpeg.sample(as_array(photograph("sunset", 160)))
    noisy = luma + np.random.default_rng(0).normal(0, sigma, luma.shape).astype(np.float32)
    assert 0.5 * sigma < noise_level(noisy) < 1.2 * sigma


@pytest.mark.parametrize("size", [1, 9, 40, 160, 384])
@pytest.mark.parametrize("name", ["friends", "sunset"])
def test_texture_is_not_noise(name: str, size: int) -> None:
    assert noise_level(jpeg.sample(as_array(photograph(name, size)))) < 0.7
