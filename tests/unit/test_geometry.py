"""Plans: coverage, partition of unity, alignment, on every length and tile size that hypothesis can think of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscaler.geometry import Box, Order, Size
from upscaler.tiling.spans import Axis, Span, across, cover, joints, shift_half
from upscaler.tiling.tiles import Plan
from upscaler.tiling.window import window


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axis, int, int, int, int]:
    multiple = draw(st.sampled_from([1, 8, 16, 64]))
    tile = draw(st.integers(2, 40)) * multiple
    overlap = draw(st.integers(0, tile // multiple // 2)) * multiple
    length = draw(st.integers(1, 200)) * multiple
    feather = draw(st.integers(0, overlap)) if overlap else 0
    return cover(length, tile, overlap, feather=feather, multiple=multiple), length, tile, overlap, multiple


def summed(axis: Axis, length: int) -> np.ndarray:
    total = np.zeros(length, np.float32)
    for span in axis:
        total[span.start : span.stop] += window(span)
    return total


@given(axes())
def test_a_covering_is_even_aligned_and_complete(case: tuple[Axis, int, int, int, int]) -> None:
    axis, length, tile, overlap, multiple = case
    assert axis[0].start == 0
    assert axis[-1].stop == length
    assert {span.stop - span.start for span in axis} == {min(tile, length)}
    assert all(span.start % multiple == 0 for span in axis)
    shared = [left.stop - right.start for left, right in zip(axis, axis[1:])]
    assert all(value >= overlap for value in shared)
    assert not shared or max(shared) - min(shared) <= multiple
    assert len(axis) == (1 if length <= tile else -(-(length - overlap) // (tile - overlap)))


@given(axes())
def test_windows_of_a_covering_sum_to_one_without_rounding(case: tuple[Axis, int, int, int, int]) -> None:
    axis, length, *_, multiple = case
    assert (summed(axis, length) == 1).all()
    assert (summed(shift_half(axis, multiple=multiple), length) == 1).all()
    assert all((window(span) >= 0).all() for span in axis)


@given(axes(), axes())
def test_products_of_windows_sum_to_one_without_rounding(
    rows: tuple[Axis, int, int, int, int], columns: tuple[Axis, int, int, int, int]
) -> None:
    total = np.zeros((min(rows[1], 200), columns[1]), np.float32)
    for tile in Plan(rows[0], columns[0]):
        y, x = tile.box.slices
        target = total[y, x]
        target += (window(tile.y)[:, None] * window(tile.x)[None])[: target.shape[0]]
    assert (total == 1).all()


@given(axes(), st.integers(8, 400))
def test_windows_across_joints_reach_zero_on_both_sides(case: tuple[Axis, int, int, int, int], width: int) -> None:
    axis, length, tile, _, multiple = case
    width = min(width, tile - multiple)
    spans = across(axis, width, multiple=multiple)
    assert len(spans) == len(axis) - 1
    for span, joint in zip(spans, joints(axis)):
        values = window(span)
        assert 0 <= span.start <= span.stop <= length
        assert span.start % multiple == 0
        outside = np.abs(np.arange(span.start, span.stop) + 0.5 - joint) >= width / 2
        assert (values[outside] == 0).all()
        assert values.max() <= 1


def test_a_window_is_symmetric_and_peaks_on_its_joint() -> None:
    (span,) = across(cover(1024, 576, 128, feather=64), 64)
    values = window(span)
    np.testing.assert_array_equal(values, values[::-1])
    assert values[len(values) // 2] > 0.99


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
def test_waves_hold_every_tile_once(order: str) -> None:
    plan = Plan(cover(1000, 256, 64, feather=32), cover(1500, 256, 64, feather=32), order)  # type: ignore[arg-type]
    tiles = [tile for wave in plan.waves() for tile in wave]
    assert sorted(tiles, key=lambda t: (t.row, t.column)) == list(plan)
    assert len(tiles) == len(plan)


def test_tiles_of_a_chess_wave_never_touch() -> None:
    plan = Plan(cover(2000, 256, 64, feather=32), cover(1500, 256, 64, feather=32), "chess")
    for wave in plan.waves():
        for tile in wave:
            assert not any(
                other.box.grow(1, Size(1500, 2000)).intersects(tile.box) for other in wave if other is not tile
            )
    assert len(plan.waves()) == 4


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
def test_a_narrowed_plan_has_all_that_a_region_depends_on(order: Order) -> None:
    plan = Plan(cover(1024, 256, 64, feather=32), cover(1024, 256, 64, feather=32), order)
    assert plan.narrow(None) == (plan, None)
    needed, reach = plan.narrow(Box(700, 300, 710, 320))
    assert reach is not None
    chosen = {(tile.row, tile.column) for tile in needed}
    assert 0 < len(chosen) < len(plan)
    waves = plan.waves()
    for index, wave in enumerate(waves):
        for tile in (tile for tile in wave if (tile.row, tile.column) in chosen):
            assert Box.around([reach, tile.box]) == reach
            earlier = [other for before in waves[:index] for other in before if other.box.intersects(tile.box)]
            assert {(other.row, other.column) for other in earlier} <= chosen, "a tile is cut from what they have drawn"


def test_a_span_without_switches_is_one_everywhere() -> None:
    assert (window(Span(0, 9)) == 1).all()
