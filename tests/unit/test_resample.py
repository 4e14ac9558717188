"""Resampling: the same pictures as Pillow's, the same bytes in strips, and any linear map."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from upscaler.arrays.resample import Kernel, resample, to_linear, to_srgb
from upscaler.geometry import Size

FILTERS = {"bicubic": PIL.Image.Resampling.BICUBIC, "lanczos": PIL.Image.Resampling.LANCZOS}
SHAPES = [
    (Size(64, 64), Size(256, 256)),
    (Size(200, 256), Size(50, 64)),
    (Size(61, 37), Size(50, 100)),
    (Size(1, 1), Size(4, 4)),
    (Size(300, 5), Size(77, 3)),
    (Size(40, 40), Size(41, 40)),
]


def noise(size: Size, channels: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((size.height, size.width, channels), dtype=np.float32)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize(("source", "target"), SHAPES)
def test_agrees_with_pillow(source: Size, target: Size, kernel: Kernel) -> None:
    image = noise(source)
    planes = [PIL.Image.fromarray(image[..., c]).resize(target, FILTERS[kernel]) for c in range(3)]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    result = resample(image, target, kernel=kernel)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.abs(result - expected).max() < 1e-5


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_strips_have_the_bytes_of_the_whole(data: st.DataObject) -> None:
    side = st.integers(1, 60)
    source, target = (Size(data.draw(side), data.draw(side)) for _ in range(2))
    kernel: Kernel = data.draw(st.sampled_from(["bicubic", "lanczos"]))
    image = noise(source, channels=data.draw(st.integers(1, 4)))
    whole = resample(image, target, kernel=kernel)
    step = data.draw(st.integers(1, target.height))
    strips = [resample(image, target, kernel=kernel, rows=slice(y, y + step)) for y in range(0, target.height, step)]
    assert np.concatenate(strips).tobytes() == whole.tobytes()


@pytest.mark.parametrize("target", [Size(7, 9), Size(40, 50)])
def test_keeps_a_constant(target: Size) -> None:
    image = np.full((20, 20, 3), 0.3, np.float32)
    assert np.abs(resample(image, target, kernel="lanczos") - np.float32(0.3)).max() < 1e-6


def test_fractional_extent_samples_at_the_exact_ratio() -> None:
    """512 pixels onto 640.25: a ramp keeps its slope, and the last of 641 samples stays within the picture."""
    ramp = np.broadcast_to(np.arange(512, dtype=np.float32)[:, None, None], (512, 4, 1))
    ratio = 512 / 640.25
    result = resample(ramp, Size(4, 641), ratio=(1.0, ratio))[:, 0, 0]
    expected = (np.arange(641) + 0.5) * ratio - 0.5
    assert np.abs(result - expected)[4:-4].max() < 1e-3
    assert 510.5 < result[-1] < 511.5


def test_offset_and_ratio_give_a_part_of_the_whole() -> None:
    image = noise(Size(64, 64))
    whole = resample(image, Size(160, 160))
    part = resample(image, Size(100, 90), ratio=(0.4, 0.4), offset=(12.0, 16.0))
    assert np.abs(part - whole[40:130, 30:130]).max() < 1e-5


def test_linear_light_and_back() -> None:
    values = np.linspace(-0.1, 1.2, 1001, dtype=np.float32)
    there = to_linear(values)
    assert there.dtype == np.float32
    assert np.all(np.diff(there) > 0)
    assert np.abs(to_srgb(there) - values).max() < 1e-6
    assert to_linear(np.float32([0.5]))[0] == pytest.approx(0.21404, abs=1e-5)
