"""Canvas noise is a function of the position."""

from __future__ import annotations

import numpy as np

from upscaler.geometry import Box
from upscaler.tiling.noise import field


def test_any_box_is_that_part_of_the_field() -> None:
    whole = field(7, 0, Box(0, 0, 90, 70), 4)
    for box in (Box(0, 0, 1, 1), Box(13, 5, 64, 70), Box(16, 16, 32, 32), Box(89, 69, 90, 70)):
        np.testing.assert_array_equal(field(7, 0, box, 4), whole[:, box.top : box.bottom, box.left : box.right])


def test_it_is_standard_normal_and_without_correlation() -> None:
    noise = field(0, 0, Box(0, 0, 256, 256), 4).astype(np.float64)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    for shifted in (
        noise[:, 1:, :] * noise[:, :-1, :],
        noise[:, 16:] * noise[:, :-16],
        noise[:, :, 16:] * noise[:, :, :-16],
    ):
        assert abs(shifted.mean()) < 0.01


def test_seeds_and_streams_differ() -> None:
    box = Box(0, 0, 32, 32)
    fields = [field(seed, stream, box, 1) for seed, stream in ((0, 0), (1, 0), (0, 1), (2**63 - 1, 0), (1 << 64, 0))]
    for index, one in enumerate(fields):
        for other in fields[index + 1 :]:
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
