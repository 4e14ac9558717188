"""Wavelet filtering: tone is the reference's, noise and invented texture go, real detail stays."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from upscaler.arrays import strips
from upscaler.arrays import ycc as planes
from upscaler.arrays.resample import resample
from upscaler.geometry import Size
from upscaler.stages.detail import filter_detail, lock_levels, lock_tone, reach, shrink_detail

Array = NDArray[np.float32]
DATA = Path(__file__).parents[1] / "data"
SIZE = 320
GREY = np.full((SIZE, SIZE, 3), 0.5, np.float32)
RAMP = GREY + np.linspace(-0.2, 0.2, SIZE, dtype=np.float32)[:, None, None]
LEVEL = np.float32(1 / 255)
RNG = np.random.default_rng(0)


def photograph(name: str) -> Array:
    with PIL.Image.open(DATA / f"{name}.jpg") as file:
        return np.asarray(file.convert("RGB"), np.float32) / 255


def psnr(a: Array, b: Array) -> float:
    return float(-10 * np.log10(np.square(a - b).mean()))


def fine_luma(image: Array) -> Array:
    luma = planes.split(image)[0]
    return luma - planes.smooth(luma, 2)


def softer(truth: Array, how: str) -> Array:
    if how == "enlarged":
        height, width = truth.shape[:2]
        return np.clip(resample(resample(truth, Size(width // 4, height // 4)), Size(width, height)), 0, 1)
    return np.stack([planes.smooth(np.ascontiguousarray(truth[..., c]), 2) for c in range(3)], axis=-1)


@pytest.mark.parametrize("scale", [1.5, 2, 4, 8])
def test_where_nothing_was_changed_nothing_is_changed(scale: float) -> None:
    image = photograph("friends")
    assert filter_detail(image.copy(), image, scale=scale, color=1, denoise=1).tobytes() == image.tobytes()


def test_zero_strengths_change_nothing() -> None:
    image = photograph("friends")
    refined = image + RNG.normal(0, 0.05, image.shape).astype(np.float32)
    assert filter_detail(refined.copy(), image, scale=4, color=0, denoise=0).tobytes() == refined.tobytes()


@pytest.mark.parametrize("reference", [GREY, RAMP], ids=["grey", "ramp"])
@pytest.mark.parametrize("cast", ["constant", "gradient", "colour"])
def test_a_cast_is_removed(reference: Array, cast: str) -> None:
    shift = np.full_like(reference, 8 * LEVEL)
    if cast == "gradient":
        shift *= np.linspace(-1, 1, SIZE, dtype=np.float32)[None, :, None]
    if cast == "colour":
        shift *= np.array([1, -1, 0.5], np.float32)
    result = filter_detail(reference + shift, reference, scale=4)
    assert np.abs(result - reference).max() < LEVEL


def test_the_lock_alone_removes_a_cast_from_a_photograph() -> None:
    image = photograph("friends")
    result = lock_tone(image + 8 * LEVEL, image, levels=lock_levels(4))
    assert np.abs(result - image).max() < 1e-5
    half = lock_tone(image + 8 * LEVEL, image, levels=lock_levels(4), strength=0.5)
    assert np.abs(half - image - 4 * LEVEL).max() < 1e-5


def test_a_checkerboard_on_a_flat_area_is_reduced_tenfold() -> None:
    board = (np.indices((SIZE, SIZE)).sum(axis=0) % 2 * 2 - 1).astype(np.float32)[..., None] * 4 * LEVEL
    result = filter_detail(GREY + board, GREY, scale=4) - GREY
    assert np.sqrt(np.square(result).mean()) < 0.1 * 4 * LEVEL
    assert np.abs(result[2:-2, 2:-2]).max() < 0.1 * 4 * LEVEL


@pytest.mark.parametrize("reference", [GREY, RAMP], ids=["grey", "ramp"])
def test_flat_areas_grow_no_texture(reference: Array) -> None:
    for period in (3, 6, 12):
        waves = np.sin(np.arange(SIZE, dtype=np.float32) * (2 * np.pi / period))
        texture = (waves[:, None] * waves)[..., None] * 6 * LEVEL
        result = filter_detail(reference + texture, reference, scale=4)
        inside = (slice(16, -16), slice(16, -16))
        assert np.abs(result - reference)[inside].max() < 0.1 * 6 * LEVEL


@pytest.mark.parametrize("name", ["friends", "sunset"])
@pytest.mark.parametrize("how", ["enlarged", "blurred"])
def test_a_good_refinement_survives(name: str, how: str) -> None:
    truth = photograph(name)
    reference = softer(truth, how)
    result = filter_detail(truth, reference, scale=4)
    assert psnr(result, truth) > 45
    luma = planes.split(truth)[0]
    contrast = planes.smooth(np.square(luma - planes.smooth(luma, 3)), 4)
    textured = contrast > np.square(8 * LEVEL)
    added, kept = fine_luma(truth - reference)[textured], fine_luma(result - reference)[textured]
    assert np.sum(kept * kept) > 0.9 * np.sum(added * added)
    assert np.sum(kept * added) > 0.9 * np.sum(added * added)


def test_noise_goes_most_where_the_picture_is_flat_and_from_chroma() -> None:
    truth = photograph("friends")
    noise = RNG.normal(0, 5 / 255, truth.shape).astype(np.float32)
    left: dict[float, list[float]] = {}
    for strength in (0.5, 1.0):
        result = shrink_detail(truth + noise, truth, levels=4, strength=strength) - truth
        left[strength] = [
            float(plane.std() / before.std()) for plane, before in zip(planes.split(result), planes.split(noise))
        ]
        assert left[strength][1] < left[strength][0] < 1
        assert left[strength][2] < left[strength][0]
    assert left[1.0] < left[0.5]


@pytest.mark.parametrize("reference", [GREY, RAMP], ids=["grey", "ramp"])
def test_tiles_of_different_tone_leave_no_trace(reference: Array) -> None:
    """A random shift of each tile of 128, cross-faded over 64 pixels, as after blending; filtered as a whole."""
    shifts = RNG.uniform(-3, 3, (3, 3, 3)).astype(np.float32) * LEVEL
    x = np.clip((np.arange(SIZE) - 107) / 64 + 0.5, 0, 1), np.clip((np.arange(SIZE) - 213) / 64 + 0.5, 0, 1)
    ease = [u * u * (3 - 2 * u) for u in x]
    weights = np.stack([1 - ease[0], ease[0] - ease[1], ease[1]]).astype(np.float32)
    tone = np.einsum("iy,jx,ijc->yxc", weights, weights, shifts)
    result = filter_detail(reference + tone, reference, scale=4)
    assert np.abs(result - reference).max() < 0.5 * LEVEL


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", [(700, 64), (531, 37), (600, 3)])
def test_strips_have_the_bytes_of_the_whole(
    scale: int, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = np.tile(photograph("friends"), (2, 1, 1))[: shape[0], : shape[1]].copy()
    canvas = reference + RNG.normal(0, 0.03, reference.shape).astype(np.float32)
    whole = filter_detail(canvas, reference, scale=scale)
    monkeypatch.setattr(strips, "PIXELS", 1)
    apply = partial(filter_detail, scale=scale)
    strips.apply_in_strips(apply, canvas, reference, halo=reach(scale), align=1 << lock_levels(scale))
    assert canvas.tobytes() == whole.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (7, 300), (411, 31), (2, 3)])
def test_tiny_and_thin_pictures(shape: tuple[int, int]) -> None:
    reference = RNG.random((*shape, 3), dtype=np.float32)
    refined = RNG.random((*shape, 3), dtype=np.float32)
    result = filter_detail(refined, reference, scale=4, denoise=1)
    assert result.shape == refined.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


@pytest.mark.parametrize("height", [1, 10, 97])
def test_in_place_strips_see_what_was_there_before(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running mean over rows, which would see its own results were the rows above not kept."""
    monkeypatch.setattr(strips, "PIXELS", 1)
    canvas = RNG.random((height, 5, 3), dtype=np.float32)

    def shift(rows: Array) -> Array:
        return np.concatenate([rows[:1], rows[:-1]])

    expected = shift(canvas)
    strips.apply_in_strips(shift, canvas, halo=4, align=2)
    assert canvas.tobytes() == expected.tobytes()
