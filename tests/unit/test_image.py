"""Rounding, dither, transparency and the picture type."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from upscaler import load, to_pil
from upscaler.arrays import strips as module
from upscaler.arrays.quantise import quantise
from upscaler.arrays.transparency import spread_colours
from upscaler.errors import ImageError
from upscaler.pictures.picture import Picture, strips_of


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)


@pytest.mark.parametrize("top", [0, 1, 511, 70001])
@pytest.mark.parametrize("dither", [True, False])
def test_every_8_bit_value_survives_anywhere_with_dither(top: int, dither: bool) -> None:
    values = np.repeat(np.arange(256, dtype=np.uint8), 64).reshape(64, 256, 1)
    picture = Picture.from_array(values)
    assert np.array_equal(quantise(picture.pixels, top=top, dither=dither), values.repeat(3, axis=2))


def test_every_16_bit_value_survives() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(quantise(Picture.from_array(values).pixels, depth=16)[..., :1], values)


def test_rounding_is_to_the_nearest_without_dither() -> None:
    values = np.array([[[0.0, 0.49 / 255, 0.51 / 255], [254.4 / 255, 254.6 / 255, 1.0]]], np.float32)
    assert quantise(values, dither=False).tolist() == [[[0, 0, 1], [254, 255, 255]]]


def test_values_outside_the_range_and_nan_are_clipped() -> None:
    values = np.array([[[-3, 2, np.nan], [np.inf, -np.inf, 0.5]]], np.float32)
    assert quantise(values, dither=False).tolist() == [[[0, 255, 0], [255, 0, 128]]]
    assert quantise(values, depth=16).tolist() == [[[0, 65535, 0], [65535, 0, 32768]]]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.8])
def test_dither_keeps_the_mean_everywhere(fraction: float) -> None:
    """Blocks of 16 x 16 have the right mean within 0.025 steps; white noise would be off by up to 0.07."""
    level = 100 + fraction
    flat = np.full((256, 256, 3), level / 255, np.float32)
    blocks = quantise(flat)[..., 0].reshape(16, 16, 16, 16).mean(axis=(1, 3))
    assert np.abs(blocks - level).max() < 0.025
    assert np.all(quantise(flat, dither=False) == round(level))


def test_dither_gives_a_slow_gradient_more_levels_than_rounding() -> None:
    ramp = np.linspace(100 / 255, 103 / 255, 1024, dtype=np.float32)
    picture = np.broadcast_to(ramp[None, :, None], (64, 1024, 3))
    columns = quantise(picture)[..., 0].mean(axis=0).reshape(64, 16).mean(axis=1)
    expected = ramp.reshape(64, 16).mean(axis=1) * 255
    assert np.abs(columns - expected).max() < 0.05
    plain = quantise(picture, dither=False)[..., 0].mean(axis=0).reshape(64, 16).mean(axis=1)
    assert np.abs(plain - expected).max() > 0.4


def test_dither_keeps_neutral_colours_neutral_and_channels_apart() -> None:
    grey = noise(40, 50, 1).repeat(3, axis=2)
    result = quantise(grey)
    assert np.all(result[..., 0] == result[..., 1])
    assert np.all(result[..., 0] == result[..., 2])


def test_strips_give_the_bytes_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture.from_array(noise(61, 37, 4))
    whole = np.concatenate([samples for _, samples in strips_of(picture, channels=3, alpha=True)])
    monkeypatch.setattr(module, "PIXELS", 37 * 5)
    parts = list(strips_of(picture, channels=3, alpha=True))
    assert [top for top, _ in parts] == list(range(0, 61, 5))
    assert np.array_equal(np.concatenate([samples for _, samples in parts]), whole)


def test_writing_needs_no_second_picture_of_floats() -> None:
    picture = Picture(np.full((1500, 1500, 3), 0.3, np.float32))
    tracemalloc.start()
    for _, samples in strips_of(picture, channels=3, alpha=False):
        assert samples.dtype == np.uint8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < picture.pixels.nbytes / 2


def test_without_alpha_a_transparent_picture_lies_on_white() -> None:
    array = np.zeros((1, 3, 4), np.float32)
    array[0, :, 3] = [0, 0.5, 1]
    array[0, :, 0] = 1
    ((_, samples),) = strips_of(Picture.from_array(array), channels=3, alpha=False, dither=False)
    assert samples.tolist() == [[[255, 255, 255], [255, 128, 128], [255, 0, 0]]]


def test_a_grey_picture_stays_grey_whatever_tint_it_got() -> None:
    tinted = Picture(np.array([[[0.2, 0.6, 0.4]]], np.float32), grey=True)
    luma = round(255 * (0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 0.4))
    for channels in (1, 3):
        ((_, samples),) = strips_of(tinted, channels=channels, alpha=False, dither=False)
        assert samples.tolist() == [[[luma] * channels]]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 53), (1, 9), (9, 1), (2, 3), (131, 7)])
@pytest.mark.parametrize("strip_pixels", [1 << 18, 40])
def test_hidden_colours_come_from_the_visible_ones(
    height: int, width: int, strip_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIXELS", strip_pixels)
    generator = np.random.default_rng(1)
    alpha = (generator.random((height, width)) > 0.8).astype(np.float32)
    alpha[0, 0] = 0.5
    pixels = np.zeros((height, width, 3), np.float32)
    pixels[alpha > 0] = [0.9, 0.4, 0.1]
    spread_colours(pixels, alpha)
    assert np.allclose(pixels, [0.9, 0.4, 0.1], atol=1e-5)


def test_spreading_in_strips_gives_the_bytes_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = (noise(101, 67, 1)[..., 0] > 0.7).astype(np.float32)
    whole, parts = noise(101, 67), noise(101, 67)
    spread_colours(whole, alpha)
    monkeypatch.setattr(module, "PIXELS", 67 * 3)
    spread_colours(parts, alpha)
    assert np.array_equal(whole, parts)


def test_visible_pixels_stay_and_hidden_ones_take_the_nearest_side() -> None:
    pixels, alpha = noise(40, 120), np.zeros((40, 120), np.float32)
    pixels[:, :10], pixels[:, -10:] = [1, 0, 0], [0, 0, 1]
    alpha[:, :10] = alpha[:, -10:] = 0.004
    before = pixels[alpha > 0].copy()
    spread_colours(pixels, alpha)
    assert np.array_equal(pixels[alpha > 0], before)
    assert np.allclose(pixels[:, 10:14], [1, 0, 0], atol=0.02)
    assert np.allclose(pixels[:, 106:110], [0, 0, 1], atol=0.02)
    middle = pixels[:, 60].mean(axis=0)
    assert 0.2 < middle[0] < 0.8
    assert 0.2 < middle[2] < 0.8


def test_nothing_bleeds_into_the_edge_of_a_cut_out() -> None:
    """A red disc on hidden black, scaled down as a network's first layer would see it: no darker red anywhere in it."""
    y, x = np.mgrid[:96, :96]
    disc = (x - 48) ** 2 + (y - 48) ** 2 < 30**2
    array = np.zeros((96, 96, 4), np.uint8)
    array[disc] = [200, 30, 20, 255]
    picture = Picture.from_array(array)
    assert picture.alpha is not None
    blocks = picture.pixels.reshape(24, 4, 24, 4, 3).mean(axis=(1, 3))
    touched = picture.alpha.reshape(24, 4, 24, 4).max(axis=(1, 3)) > 0
    assert np.abs(blocks[touched] * 255 - [200, 30, 20]).max() < 0.5


def test_wholly_transparent_pictures_are_left_alone() -> None:
    pixels = noise(8, 8)
    before = pixels.copy()
    spread_colours(pixels, np.zeros((8, 8), np.float32))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.bool_])
def test_arrays_of_every_kind(shape: tuple[int, ...], dtype: type) -> None:
    raw = np.random.default_rng(0).random(shape)
    array = raw > 0.5 if dtype is np.bool_ else raw.astype(dtype)
    if np.issubdtype(dtype, np.integer):
        array = (raw * np.iinfo(dtype).max).astype(dtype)
    picture = Picture.from_array(array)
    assert picture.pixels.shape == (5, 7, 3)
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.flags.c_contiguous
    assert picture.size == (7, 5)
    assert (picture.alpha is not None) == (shape[2:] in [(2,), (4,)])
    assert picture.grey == (shape[2:] in [(), (1,), (2,)])
    assert picture.depth == (16 if dtype is np.uint16 else 8)
    shown = np.ones((5, 7), bool) if picture.alpha is None else picture.alpha > 0
    peak = 1 if not np.issubdtype(dtype, np.integer) else np.iinfo(dtype).max
    first = array.reshape(5, 7, -1)[..., 0]
    assert np.allclose(picture.pixels[..., 0][shown], first[shown] / peak, atol=1e-6)


def test_an_opaque_alpha_channel_is_dropped() -> None:
    array = np.full((3, 3, 4), 255, np.uint8)
    assert Picture.from_array(array).alpha is None
    array[1, 1, 3] = 254
    assert Picture.from_array(array).alpha is not None


@pytest.mark.parametrize("array", [np.zeros((0, 4, 3)), np.zeros((4, 4, 5)), np.zeros(4), np.zeros((2, 2), np.int32)])
def test_what_is_no_picture_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="allowed"):
        Picture.from_array(array)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_pillow_and_back(channels: int, mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 11, channels), dtype=np.uint8)
    picture = Picture.from_array(array)
    image = to_pil(picture)
    assert image.mode == mode
    assert image.size == (11, 9)
    again = load(image)
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.grey == picture.grey
    assert (again.alpha is None) == (picture.alpha is None)
    if picture.alpha is None:
        assert np.array_equal(np.asarray(image).reshape(9, 11, channels), array)
