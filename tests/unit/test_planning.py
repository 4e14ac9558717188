"""From settings to geometry, before anything is loaded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import upscaler
from upscaler.geometry import Size
from upscaler.options.settings import Settings, Tiles
from upscaler.plan import plan_tiles
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
        assert all(step.ratio == (scale, scale) for step in passes[1:])


@pytest.mark.parametrize(
    ("tile", "expected"),
    [("512", (512, 512)), ("auto", (448, 448)), ("2x3", (632, 448)), ("4096", (1200, 1200)), ("500", (504, 504))],
)
def test_tiles_by_side_by_count_and_automatic(tile: str, expected: tuple[int, int]) -> None:
    plan = plan_tiles(Size(1200, 1200), Tiles(tile=tile), multiple=8)
    assert next(iter(plan)).box.size == expected
    if "x" in tile:
        assert (len(plan.columns), len(plan.rows)) == (2, 3)


def test_a_plan_needs_no_model_and_tells_the_work() -> None:
    plan = upscaler.plan(Size(512, 512), Settings.of(scale=4, steps=3, guidance=2, seams="band", seam_steps=2))
    assert plan.target == Size(2048, 2048)
    assert plan.gan_tiles == 1
    assert plan.tiles is not None
    assert len(plan.tiles) == 25
    assert plan.seam_tiles == 48
    assert plan.evaluations == (25 * 3 + 48 * 2) * 2
    assert upscaler.plan(Size(512, 512), model="none").evaluations == 0
