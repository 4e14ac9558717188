"""The correction line: exact for the identity, independent of order, as cheap on a large canvas as on a small one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from upscaler.arrays.types import Image
from upscaler.geometry import Box, Size
from upscaler.tiling.canvas import Wave, cut, to_grid, weigh
from upscaler.tiling.spans import cover
from upscaler.tiling.tiles import Plan, Tile


@pytest.fixture
def canvas() -> Image:
    return to_grid(np.random.default_rng(1).random((300, 411, 3), np.float32))


def plan_of(canvas: Image) -> Plan:
    rows, columns = (cover(-(-length // 8) * 8, 128, 64, feather=40, multiple=8) for length in canvas.shape[:2])
    return Plan(rows, columns)


def blend(canvas: Image, tiles: list[Tile], refine, batch: int = 1) -> Image:  # type: ignore[no-untyped-def]
    out = canvas.copy()
    wave = Wave(out, tiles)
    while wave:
        for tile, crop in wave.take(batch):
            wave.correct(tile, correction(canvas, tile, crop, refine(crop)))
    return out


def correction(canvas: Image, tile: Tile, crop: Image, drawn: Image) -> Image:
    return weigh(tile, crop, drawn, Size(canvas.shape[1], canvas.shape[0]))


def test_identity_gives_the_same_bytes(canvas: Image) -> None:
    assert blend(canvas, list(plan_of(canvas)), lambda crop: crop.copy()).tobytes() == canvas.tobytes()


def test_a_pointwise_refiner_gives_the_untiled_result(canvas: Image) -> None:
    out = blend(canvas, list(plan_of(canvas)), lambda crop: 1 - crop)
    np.testing.assert_allclose(out, 1 - canvas, atol=1e-6)


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_batches_do_not_matter(canvas: Image, batch: int) -> None:
    tiles = list(plan_of(canvas))
    assert blend(canvas, tiles, np.sqrt, batch).tobytes() == blend(canvas, tiles, np.sqrt).tobytes()


def test_the_order_of_independent_tiles_does_not_matter(canvas: Image) -> None:
    tiles = list(plan_of(canvas))
    expected = blend(canvas, tiles, np.sqrt)
    out = canvas.copy()
    crops = [cut(canvas, tile.box) for tile in tiles]
    for index in random.Random(3).sample(range(len(tiles)), len(tiles)):
        Wave(out, []).correct(tiles[index], correction(canvas, tiles[index], crops[index], np.sqrt(crops[index])))
    assert out.tobytes() == expected.tobytes()


def test_crops_are_cut_before_the_wave_changes_them(canvas: Image) -> None:
    out = canvas.copy()
    wave = Wave(out, plan_of(canvas))
    while wave:
        ((tile, crop),) = wave.take(1)
        np.testing.assert_array_equal(crop, cut(canvas, tile.box))
        wave.correct(tile, correction(canvas, tile, crop, np.zeros_like(crop)))


def test_beyond_the_picture_a_crop_is_reflected(canvas: Image) -> None:
    crop = cut(canvas, Box(400, 290, 424, 312))
    assert crop.shape == (22, 24, 3)
    np.testing.assert_array_equal(crop[:10, :11], canvas[290:, 400:])
    np.testing.assert_array_equal(crop[10:12, :11], canvas[:-3:-1, 400:])
    tiny = cut(np.full((1, 1, 3), 0.25, np.float32), Box(0, 0, 8, 8))
    assert (tiny == 0.25).all()
