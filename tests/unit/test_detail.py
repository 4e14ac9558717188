"""Wavelet filtering: tone is the reference's, noise and invented texture go, real detail stays."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from upscaler.arrays import strips, ycc
from upscaler.arrays.resample import resample
from upscaler.geometry import Size
from upscaler.stages.detail import filter_detail, has_nothing_to_refine, lock_levels, reach, room_of

Array = NDArray[np.float32]
DATA = Path(__file__).parents[1] / "data"
SIZE = 320
TILE = 128
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
    luma = ycc.split(image)[0]
    return luma - ycc.smooth(luma, 2)


def softer(truth: Array, how: str) -> Array:
    if how == "enlarged":
        height, width = truth.shape[:2]
        return np.clip(resample(resample(truth, Size(width // 4, height // 4)), Size(width, height)), 0, 1)
    return np.stack([ycc.smooth(np.ascontiguousarray(truth[..., c]), 2) for c in range(3)], axis=-1)


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
    result = filter_detail(image + 8 * LEVEL, image, scale=4, denoise=0)
    assert np.abs(result - image).max() < 1e-5
    for denoise in (0, 0.5):
        half = filter_detail(image + 8 * LEVEL, image, scale=4, color=0.5, denoise=denoise)
        assert np.abs(half - image - 4 * LEVEL).max() < 1e-5


def test_a_checkerboard_on_a_flat_area_is_reduced_tenfold() -> None:
    board = (np.indices((SIZE, SIZE)).sum(axis=0) % 2 * 2 - 1).astype(np.float32)[..., None] * 4 * LEVEL
    result = filter_detail(GREY + board, GREY, scale=4) - GREY
    assert np.sqrt(np.square(result).mean()) < 0.1 * 4 * LEVEL
    assert np.abs(result[2:-2, 2:-2]).max() < 0.1 * 4 * LEVEL


@pytest.mark.parametrize("reference", [GREY, RAMP], ids=["grey", "ramp"])
def test_flat_areas_grow_no_texture(reference: Array) -> None:
    for period in (3, 6, 12, 24, 40, 64):
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
    luma = ycc.split(truth)[0]
    contrast = ycc.smooth(np.square(luma - ycc.smooth(luma, 3)), 4)
    textured = contrast > np.square(8 * LEVEL)
    added, kept = fine_luma(truth - reference)[textured], fine_luma(result - reference)[textured]
    assert np.sum(kept * kept) > 0.9 * np.sum(added * added)
    assert np.sum(kept * added) > 0.9 * np.sum(added * added)


def test_noise_goes_most_where_the_picture_is_flat_and_from_chroma() -> None:
    truth = photograph("friends")
    noise = RNG.normal(0, 5 / 255, truth.shape).astype(np.float32)
    left: dict[float, list[float]] = {}
    for strength in (0.5, 1.0):
        result = filter_detail(truth + noise, truth, scale=4, color=0, denoise=strength) - truth
        left[strength] = [
            float(plane.std() / before.std()) for plane, before in zip(ycc.split(result), ycc.split(noise))
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


def plausible_changes() -> dict[str, Array]:
    """What a refiner may add to a flat tile: tone, noise, texture, a checkerboard, specks."""
    rng = np.random.default_rng(1)
    shape = TILE, TILE, 3
    rows, columns = np.indices(shape[:2])
    tint = np.array([1, 0.7, -0.4], np.float32)
    changes = {"gradient": np.linspace(-8, 8, TILE)[:, None, None] * tint, "shift": 16 * tint}
    for level in (0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10):
        changes[f"noise of {level}"] = rng.normal(0, level, shape)
        changes[f"grey noise of {level}"] = rng.normal(0, level, (TILE, TILE, 1))
        changes[f"checkerboard of {level}"] = ((rows + columns) % 2 * 2 - 1)[..., None] * level
        changes[f"specks of {level}"] = ((rows % 37 == 0) & (columns % 29 == 0))[..., None] * level * tint
        for width in (1, 2, 3, 4):
            blotches = ycc.smooth(rng.normal(0, 1, shape[:2]).astype(np.float32), width)
            changes[f"blotches of {level}, {width}"] = (blotches * level / blotches.std())[..., None] * tint
        for period in (2, 3, 5, 8, 13, 24, 40, 64, 100):
            wave = np.sin(np.arange(TILE) * (2 * np.pi / period) + 1)
            changes[f"texture of {level}, {period}"] = (wave[:, None] * wave)[..., None] * level
    return {name: np.broadcast_to(change, shape).astype(np.float32) * LEVEL for name, change in changes.items()}


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("denoise", [0.5, 1])
def test_a_flat_tile_comes_out_as_it_was(scale: float, denoise: float) -> None:
    flat = np.full((TILE, TILE, 3), (30, 128, 255), np.float32) * LEVEL
    assert has_nothing_to_refine(room_of(flat), denoise=denoise)
    for name, change in plausible_changes().items():
        result = filter_detail(flat + change, flat, scale=scale, denoise=denoise)
        assert np.array_equal(np.rint(result * 255), np.rint(flat * 255)), name


@pytest.mark.parametrize("texture", ["noise", "waves", "ramp"])
def test_of_faint_texture_only_that_is_skipped_which_would_not_survive(texture: str) -> None:
    """From flat to what survives, in steps: whatever is called nothing, is nothing."""
    rng = np.random.default_rng(2)
    pattern = {
        "noise": rng.normal(0, 1, (TILE, TILE, 1)).astype(np.float32),
        "waves": np.sin(np.arange(TILE, dtype=np.float32) * 0.7)[:, None, None],
        "ramp": np.arange(TILE, dtype=np.float32)[:, None, None] - TILE // 2,
    }[texture]
    skipped: list[bool] = []
    for level in (0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 1):
        reference = np.broadcast_to(GREY[0, 0] + pattern * level * LEVEL, (TILE, TILE, 3)).copy()
        skipped.append(has_nothing_to_refine(room_of(reference)))
        if skipped[-1]:
            for name, change in plausible_changes().items():
                result = filter_detail(reference + change, reference, scale=4)
                assert np.abs(result - reference).max() < 0.5 * LEVEL, (level, name)
    assert skipped == sorted(skipped, reverse=True)
    assert skipped[0]
    assert not skipped[-2]


def test_a_photograph_has_something_to_refine_and_so_has_a_flat_tile_when_the_filter_is_weak() -> None:
    image = photograph("sunset")
    assert not has_nothing_to_refine(room_of(softer(image, "enlarged")))
    assert not has_nothing_to_refine(room_of(GREY), color=0.9)
    assert not has_nothing_to_refine(room_of(GREY), denoise=0.4)
    corner = GREY.copy()
    corner[-1, -1] += 4 * LEVEL
    assert not has_nothing_to_refine(room_of(corner))
