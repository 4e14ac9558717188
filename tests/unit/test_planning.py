"""From settings to geometry, before anything is loaded."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import upscaler
from upscaler import weights
from upscaler.geometry import Size
from upscaler.models.base import Redrawer
from upscaler.options.settings import Settings, Tiles
from upscaler.resolve import plan_tiles
from upscaler.tiling.grid import TileSides
from upscaler.tiling.passes import enlarge_passes


@pytest.mark.parametrize(
    ("factor", "scale", "sizes"),
    [
        (4, 4, [400]),
        (2, 4, [200]),
        (1, 4, []),
        (0.5, 4, []),
        (5, 4, [125, 500]),
        (16, 4, [400, 1600]),
        (8, 2, [200, 400, 800]),
        (3, 2, [150, 300]),
        (4, 1, [400]),
        (8, 8, [800]),
    ],
)
def test_the_network_runs_as_seldom_as_possible(factor: float, scale: int, sizes: list[int]) -> None:
    passes = enlarge_passes(
        Size(100, 100), Size(round(100 * factor), round(100 * factor)), scale=scale, halo=8, tile=64
    )
    assert [step.size.width for step in passes] == sizes


@given(
    st.integers(1, 300), st.integers(1, 300), st.floats(0.5, 16), st.floats(0.5, 16), st.sampled_from([1, 2, 3, 4, 8])
)
def test_passes_end_on_the_target_and_never_exceed_the_network(
    width: int, height: int, x: float, y: float, scale: int
) -> None:
    source, target = Size(width, height), Size(max(round(width * x), 1), max(round(height * y), 1))
    passes = enlarge_passes(source, target, scale=scale, halo=8, tile=64)
    if max(target.width / width, target.height / height) <= 1:
        assert not passes
        return
    assert passes[-1].size == target
    if scale > 1:
        assert all(ratio <= scale + 1e-6 for step in passes for ratio in step.ratio)
        assert all(scale in step.ratio for step in passes[1:])
        for axis, wanted in ((0, target.width / width), (1, target.height / height)):
            grown = [step.ratio[axis] for step in passes]
            assert np.prod(grown) == pytest.approx(wanted)
            assert all(ratio >= min(wanted, 1) - 1e-9 for ratio in grown), "no run takes away what a later one needs"


@pytest.mark.parametrize(
    ("tile", "expected"),
    [("512", (440, 440)), ("auto", (632, 632)), ("2x3", (632, 448)), ("4096", (1200, 1200)), ("500", (440, 440))],
)
def test_tiles_by_side_by_count_and_automatic(tile: str, expected: tuple[int, int]) -> None:
    plan = plan_tiles(Size(1200, 1200), Tiles(tile=tile), Redrawer())
    assert plan.tile == expected
    if "x" in tile:
        assert (len(plan.columns), len(plan.rows)) == (2, 3)


SIDES = st.integers(64, 16384)


def crops_of_ultimate_sd_upscale(length: int, tile: int, padding: int) -> int:
    """What Ultimate SD Upscale cuts along an axis: each tile with its padding, grown to what it works at if it is less."""
    starts = range(0, length, tile)
    crops = (min(start + tile + padding, length) - max(start - padding, 0) for start in starts)
    return sum(max(crop, tile + padding) for crop in crops)


@settings(max_examples=1000)
@given(
    SIDES,
    SIDES,
    st.sampled_from([(512, TileSides(512, 640, 0.17)), (512, TileSides()), (1024, TileSides(1024, 1152, 0.17))]),
)
def test_the_network_never_sees_more_than_that_of_ultimate_sd_upscale(
    width: int, height: int, model: tuple[int, TileSides]
) -> None:
    tile, sides = model
    plan = plan_tiles(Size(width, height), Tiles(), Redrawer(tile_sides=sides))
    ours = len(plan) * plan.tile.width * plan.tile.height
    theirs = [crops_of_ultimate_sd_upscale(-(-length // 8) * 8, tile, 32) for length in (width, height)]
    assert ours <= theirs[0] * theirs[1]
    assert max(plan.tile) <= sides.largest
    assert min(plan.tile) >= min(sides.least, width, height)


@settings(max_examples=1000)
@given(SIDES, SIDES, st.sampled_from([(512, 32), (512, 64), (768, 32), (1024, 64)]))
def test_with_its_settings_the_network_sees_no_more_than_it_works_at(
    width: int, height: int, anchor: tuple[int, int]
) -> None:
    """In its host every tile is worked at as a square of tile and padding, whatever it was cut as."""
    tile, padding = anchor
    tiles = Tiles(tile=str(tile + padding), overlap=padding, feather=32)
    plan = plan_tiles(Size(width, height), tiles, Redrawer())
    worked_at = math.ceil(width / tile) * math.ceil(height / tile) * (tile + padding) ** 2
    assert len(plan) * plan.tile.width * plan.tile.height <= worked_at


def test_attention_prefers_smaller_tiles_where_they_cost_less() -> None:
    few, many = (
        plan_tiles(Size(4096, 4096), Tiles(), Redrawer(tile_sides=TileSides(512, 640, share))) for share in (0, 2)
    )
    assert len(few) == 49
    assert len(many) == 64


def test_a_plan_needs_no_model_and_tells_the_work() -> None:
    plan = upscaler.plan(Size(512, 512), Settings.of(scale=4, steps=3, guidance=2, seams="band", seam_steps=2))
    assert plan.target == Size(2048, 2048)
    assert plan.gan_tiles == 1
    assert plan.tiles is not None
    assert len(plan.tiles) == 16
    assert plan.seam_tiles == 30
    assert plan.evaluations == (16 * 3 + 30 * 2) * 2
    assert upscaler.plan(Size(512, 512), model="none").evaluations == 0


def test_a_model_of_the_users_own_is_planned_as_it_is_run(tmp_path: Path) -> None:
    """Its scale and its halo are those of the network in the file, and no guess."""
    own = tmp_path / "own.safetensors"
    shutil.copyfile(weights.find("realesr-animevideov3", "gan"), own)
    planned = upscaler.plan(Size(700, 700), gan=str(own), model="none")
    loaded = upscaler.load_upscaler(str(own), device="cpu", precision="float32")
    assert planned.passes == enlarge_passes(
        Size(700, 700), Size(2800, 2800), scale=loaded.scale, halo=loaded.halo, tile=Settings().gan.tile
    )
    assert loaded.halo == 24
