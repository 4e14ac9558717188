"""Octaves of planes, against the same written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from upscaler.arrays import ycc
from upscaler.arrays.pyramid import double, halve, mean_square, part, weave

Array = NDArray[np.float32]
SHAPES = [(2, 2), (2, 8), (6, 2), (34, 58)]
RNG = np.random.default_rng(0)


def tent(plane: Array, step: int, axis: int) -> Array:
    """[1, 2, 1] / 4 along an axis, in double precision, as `np.pad` sees the edges."""
    margin = [(step, step) if each == axis else (0, 0) for each in range(2)]
    before, after = (np.roll(np.pad(plane.astype(float), margin, "edge"), shift, axis) for shift in (step, -step))
    middle = tuple(slice(low, -high or None) for low, high in margin)
    return before[middle] / 4 + plane / 2 + after[middle] / 4


@pytest.mark.parametrize("shape", SHAPES)
def test_phases_are_woven_into_what_they_were(shape: tuple[int, int]) -> None:
    plane = RNG.random(shape, dtype=np.float32)
    assert np.array_equal(weave(part(plane)), plane)


@pytest.mark.parametrize("shape", SHAPES)
def test_halve_is_a_tent_at_even_places(shape: tuple[int, int]) -> None:
    plane = RNG.random(shape, dtype=np.float32)
    expected = tent(tent(plane, 1, 0), 1, 1)[::2, ::2]
    assert np.allclose(halve(part(plane)), expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_double_is_linear_between_samples(shape: tuple[int, int]) -> None:
    low = RNG.random(shape, dtype=np.float32)
    rows, columns = (np.minimum(np.arange(2 * side) / 2, side - 1) for side in shape)
    across = np.stack([np.interp(columns, np.arange(shape[1]), row) for row in low])
    expected = np.stack([np.interp(rows, np.arange(shape[0]), column) for column in across.T], axis=1)
    assert np.allclose(weave(double(low)), expected, atol=1e-6)


def test_mean_square() -> None:
    plane = RNG.random((8, 6), dtype=np.float32)
    expected = np.square(plane).reshape(4, 2, 3, 2).mean(axis=(1, 3))
    assert np.allclose(mean_square(part(plane)), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 2), (40, 53)])
@pytest.mark.parametrize("levels", [0, 1, 2, 3, 5])
def test_smooth_is_a_row_of_tents_that_sees_edges_repeated(shape: tuple[int, int], levels: int) -> None:
    plane = RNG.random(shape, dtype=np.float32)
    reach = (1 << levels) - 1
    expected = np.pad(plane, reach, "edge").astype(float)
    for level in range(levels):
        expected = tent(tent(expected, 1 << level, 0), 1 << level, 1)
    inside = tuple(slice(reach, reach + side) for side in shape)
    assert np.allclose(ycc.smooth(plane, levels), expected[inside], atol=1e-6)


def test_smooth_takes_each_plane_of_a_stack_alone() -> None:
    stack = RNG.random((2, 3, 20, 17), dtype=np.float32)
    together = ycc.smooth(stack, 2)
    for index in np.ndindex(2, 3):
        assert np.array_equal(together[index], ycc.smooth(stack[index], 2))
    assert not ycc.smooth(np.zeros_like(stack), 2).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 4, 3)])
def test_luma_and_chroma_join_to_what_was_split(shape: tuple[int, int, int]) -> None:
    image = RNG.random(shape, dtype=np.float32)
    before = image.copy()
    luma, blue, red = ycc.split(image)
    assert np.array_equal(image, before)
    assert np.allclose(luma, image @ np.array([0.299, 0.587, 0.114], np.float32), atol=1e-6)
    assert np.allclose(blue, image @ np.array([-0.168736, -0.331264, 0.5], np.float32), atol=1e-6)
    assert np.allclose(red, image @ np.array([0.5, -0.418688, -0.081312], np.float32), atol=1e-6)
    assert np.allclose(ycc.join([luma, blue, red]), image, atol=1e-5)
    assert not ycc.join(ycc.split(np.zeros_like(image))).any()
