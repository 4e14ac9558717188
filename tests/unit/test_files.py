"""Pictures in and out of files: every format, mode and depth, what travels with them, and what is refused."""

from __future__ import annotations

import io
import json
import os
import struct
import threading
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, PngImagePlugin

from upscaler.errors import ImageError
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures import files
from upscaler.pictures.files import check_output, load, read_settings, save
from upscaler.pictures.metadata import EXIF_IFD, GPS_IFD
from upscaler.pictures.picture import Picture

Pillow.init()
AVIF = pytest.mark.skipif("AVIF" not in Pillow.SAVE, reason="this Pillow has no AVIF")
EVERY = ["png", "jpg", "webp", "tif", pytest.param("avif", marks=AVIF)]
EVERY_DEPTH = [
    *(("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8), ("tif", 16)),
    pytest.param("avif", 8, marks=AVIF),
]
SRGB: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SETTINGS = {"scale": 4, "prompt": "snow, größer", "tiles": {"overlap": 64}}


def samples(channels: int, depth: int = 8, height: int = 23, width: int = 31) -> np.ndarray:
    """Noise; of its alpha a third is 0 and a third opaque, and hidden pixels are black."""
    generator = np.random.default_rng(channels * 100 + depth)
    dtype = np.uint16 if depth == 16 else np.uint8
    array = generator.integers(0, 1 << depth, (height, width, channels)).astype(dtype)
    if channels in (2, 4):
        array[: height // 3, :, -1], array[height // 3 : 2 * height // 3, :, -1] = 0, (1 << depth) - 1
    return array


def back(picture: Picture, depth: int, alpha: bool) -> np.ndarray:
    """Samples of a loaded picture."""
    colour = picture.pixels[..., :1] if picture.grey else picture.pixels
    parts = [colour] + ([picture.alpha[..., None]] if alpha and picture.alpha is not None else [])
    return np.rint(np.concatenate(parts, axis=2).astype(np.float64) * ((1 << depth) - 1)).astype(np.uint16)


def smooth(height: int = 40, width: int = 56) -> Picture:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return Picture(np.ascontiguousarray(np.stack([x / width, y / height, (x + y) / (width + height)], axis=2)))


def exif_block(orientation: int = 1) -> bytes:
    exif = Pillow.Exif()
    exif[0x010F], exif[0x0112], exif[0x8298] = "Camera & Co", orientation, "(c) somebody"
    exif[EXIF_IFD] = {0x829A: 0.005, 0x9003: "2024:05:06 07:08:09", 0xA002: 31, 0xA003: 23}
    exif[GPS_IFD] = {1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0)}
    return exif.tobytes()


def parsed(picture: Picture) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    exif = Pillow.Exif()
    exif.load(picture.exif or b"")
    return dict(exif), dict(exif.get_ifd(EXIF_IFD)), dict(exif.get_ifd(GPS_IFD))


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_chunk(png: bytes, kind: bytes, payload: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
    return png[:33] + chunk + png[33:]


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "depth"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.webp", 8)])
def test_lossless_round_trip_is_exact(tmp_path: Path, channels: int, name: str, depth: Any) -> None:
    array = samples(channels, depth, 131)
    alpha = channels in (2, 4)
    assert save(Picture.from_array(array), tmp_path / name, bit_depth=depth, quality=100) == ()
    picture = load(tmp_path / name)
    assert picture.depth == depth
    assert picture.notices == ()
    assert picture.size == (31, 131)
    assert picture.grey == (channels < 3 and not name.endswith("webp"))
    result = back(picture, depth, alpha)
    colours = result.shape[2] - alpha
    shown = array[..., -1] > 0 if alpha else np.ones(array.shape[:2], bool)
    assert np.array_equal(
        result[..., :colours][shown], np.broadcast_to(array[..., : channels - alpha][shown], (shown.sum(), colours))
    )
    if alpha:
        assert np.array_equal(result[..., -1], array[..., -1])


@pytest.mark.parametrize("suffix", ["jpg", "webp", pytest.param("avif", marks=AVIF)])
@pytest.mark.parametrize("grey", [False, True])
def test_lossy_round_trip_is_close(tmp_path: Path, suffix: str, grey: bool) -> None:
    picture = smooth()
    if grey:
        picture = Picture(np.repeat(picture.pixels[..., 2:], 3, axis=2), grey=True)
    save(picture, tmp_path / f"a.{suffix}")
    again = load(tmp_path / f"a.{suffix}")
    assert np.abs(again.pixels - picture.pixels).mean() < 0.01
    if suffix == "jpg":
        assert again.grey == grey


@pytest.mark.parametrize("suffix", ["webp", pytest.param("avif", marks=AVIF)])
def test_lossy_alpha(tmp_path: Path, suffix: str) -> None:
    picture = smooth()
    alpha = np.ascontiguousarray(np.linspace(0, 1, 56, dtype=np.float32)[None].repeat(40, axis=0))
    save(Picture(picture.pixels, alpha=alpha), tmp_path / f"a.{suffix}")
    again = load(tmp_path / f"a.{suffix}")
    assert again.alpha is not None
    assert np.abs(again.alpha - alpha).max() < 0.03


def test_jpeg_has_no_alpha_and_says_so(tmp_path: Path) -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, 8:] = [10, 20, 30, 255]
    (notice,) = save(Picture.from_array(array), tmp_path / "a.jpg")
    assert "white" in notice
    again = load(tmp_path / "a.jpg")
    assert again.alpha is None
    assert np.all(again.pixels[:, :7] > 0.98)


def test_bit_depth_follows_the_source_where_the_format_can(tmp_path: Path) -> None:
    deep = Picture.from_array(samples(3, 16))
    save(deep, tmp_path / "a.png")
    save(deep, tmp_path / "b.png", bit_depth=8)
    save(deep, tmp_path / "c.webp")
    assert load(tmp_path / "a.png").depth == 16
    assert load(tmp_path / "b.png").depth == 8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_our_16_bit_png_is_what_another_reader_expects(tmp_path: Path, channels: int) -> None:
    """Pillow checks every CRC and filter, and keeps the high byte of colour (all of grey)."""
    array = samples(channels, 16, 140, 90)
    array[60:] = array[60:61]  # so that every filter has rows where it wins
    array[:, 45:] = array[:, 45:46]
    if channels in (2, 4):
        array[..., -1] |= 0x100
    save(Picture.from_array(array), tmp_path / "a.png", bit_depth=16)
    with Pillow.open(tmp_path / "a.png") as image:
        seen = np.asarray(image).astype(np.uint16)
    expected = {1: array[..., 0], 2: array[..., [0, 0, 0, -1]] >> 8, 3: array >> 8, 4: array >> 8}[channels]
    assert np.array_equal(seen, expected)
    with (tmp_path / "a.png").open("rb") as stream:
        header = stream.read(26)
    assert header[24] == 16
    assert header[25] == {1: 0, 2: 4, 3: 2, 4: 6}[channels]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_our_tiff_is_what_another_reader_expects(tmp_path: Path, channels: int, depth: Any) -> None:
    array = samples(channels, depth, 140)
    if channels in (2, 4):
        array[..., -1] |= 1
    save(Picture.from_array(array), tmp_path / "a.tif", bit_depth=depth, settings_json="{}")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert np.array_equal(file.pages.first.asarray().reshape(array.shape), array)
        assert not file.is_bigtiff


def test_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaler.pictures.encode._CLASSIC_TIFF", 1000)
    array = samples(3, 16)
    (notice,) = save(Picture.from_array(array), tmp_path / "a.tif", settings_json='{"scale": 2}')
    assert "EXIF" in notice
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
    assert np.array_equal(back(load(tmp_path / "a.tif"), 16, False), array)
    assert read_settings(tmp_path / "a.tif") == {"scale": 2}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": 2},
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_tiff_of_others(tmp_path: Path, options: dict[str, Any], channels: int) -> None:
    array = samples(channels, 16)
    if channels == 4:
        array[..., 3] |= 1
        options = options | {"extrasamples": ["unassalpha"]}
    planes = np.moveaxis(array, 2, 0) if options.get("planarconfig") == "separate" else array
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", metadata=None, **options)
    picture = load(tmp_path / "a.tif")
    assert picture.depth == 16
    assert np.array_equal(back(picture, 16, True), array)
    with (tmp_path / "a.tif").open("rb") as stream:
        assert np.array_equal(load(stream).pixels, picture.pixels)


def test_premultiplied_16_bit_tiff(tmp_path: Path) -> None:
    array = samples(4, 16)
    array[..., 3] = np.maximum(array[..., 3], 20000)
    product = array.astype(np.float64)
    product[..., :3] *= product[..., 3:] / 65535
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.rint(product).astype(np.uint16),
        photometric="rgb",
        metadata=None,
        extrasamples=["assocalpha"],
    )
    assert np.abs(back(load(tmp_path / "a.tif"), 16, True).astype(int) - array).max() <= 2


@pytest.mark.parametrize(
    ("dtype", "photometric"), [(np.float32, "rgb"), (np.float16, "rgb"), (np.uint32, "rgb"), (np.float32, "minisblack")]
)
def test_tiff_of_floats_and_long_integers(tmp_path: Path, dtype: Any, photometric: str) -> None:
    values = np.random.default_rng(0).random((12, 14, 3) if photometric == "rgb" else (12, 14))
    values.flat[0] = 0.5
    array = values.astype(dtype) if np.issubdtype(dtype, np.floating) else (values * 0xFFFFFFFF).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, metadata=None)
    picture = load(tmp_path / "a.tif")
    assert picture.depth == 16
    assert picture.notices == ()
    assert np.allclose(picture.pixels, values.reshape(12, 14, -1), atol=1e-3)


def test_floats_out_of_range_are_clipped_with_a_notice(tmp_path: Path) -> None:
    for name, kind, array in (
        ("rgb", "rgb", np.full((4, 4, 3), 1.5, np.float32)),
        ("f", "minisblack", np.full((4, 4), np.nan, np.float32)),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric=kind, metadata=None)
        picture = load(tmp_path / f"{name}.tif")
        assert np.all(picture.pixels == (1 if name == "rgb" else 0))
        assert "clipped" in picture.notices[0]


def adam7(array: np.ndarray) -> bytes:
    """An interlaced PNG of 16 bits, all rows unfiltered."""
    data = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        part = array[y::dy, x::dx].astype(">u2")
        if part.size:
            data += b"".join(b"\0" + row.tobytes() for row in part)
    chunks = [
        (b"IHDR", struct.pack(">2I5B", array.shape[1], array.shape[0], 16, {3: 2, 4: 6, 2: 4}[array.shape[2]], 0, 0, 1))
    ]
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_interlaced_16_bit_png(channels: int) -> None:
    array = samples(channels, 16)
    if channels in (2, 4):
        array[..., -1] |= 1
    assert np.array_equal(back(load(adam7(array)), 16, True), array)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F", "PA", "RGBX", "La", "RGBa"]
)
def test_pillow_images_of_every_mode(mode: str) -> None:
    grey = Pillow.fromarray(samples(1)[..., 0])
    image = Pillow.merge("RGB", (grey, grey.rotate(180), grey))
    if mode in {"I;16", "I"}:
        image = grey.convert("I").point(lambda value: value * 257 + 0).convert(mode)
    elif mode == "F":
        image = Pillow.fromarray(np.asarray(grey, np.float32) / 255)
    elif mode in {"La", "RGBa"}:
        image = image.convert("LA" if mode == "La" else "RGBA").convert(mode)
    elif mode in {"1", "L", "LA", "PA"}:
        image = grey.convert("P").convert(mode) if mode == "PA" else grey.convert(mode)
    else:
        image = image.convert(mode)
    picture = load(image)
    deep = mode in {"I;16", "I", "F"}
    assert picture.depth == (16 if deep else 8)
    assert picture.alpha is None
    assert picture.grey == (mode in {"1", "L", "LA", "La", "PA", "I;16", "I", "F"})
    expected = (
        grey if deep else image.convert("LA" if mode == "La" else "RGBA" if mode == "RGBa" else mode).convert("RGB")
    )
    assert np.abs(picture.pixels * 255 - np.asarray(expected).reshape(23, 31, -1)).max() < 0.01


def test_palette_with_transparency() -> None:
    image = Pillow.new("P", (4, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2, 1])
    picture = load(encoded(image, "PNG", transparency=bytes([255, 128, 0])))
    assert picture.alpha is not None
    assert not picture.grey
    assert np.allclose(picture.alpha * 255, [[255, 128, 0, 128]])
    assert np.allclose(picture.pixels[0, [0, 1, 3]] * 255, [[10, 20, 30], [200, 100, 50], [200, 100, 50]])
    assert picture.pixels[0, 2].min() > 0.1  # not the hidden black


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 8, 9)), ("I;16", 1800)])
def test_transparent_colour(mode: str, key: Any) -> None:
    dtype = np.uint16 if mode == "I;16" else np.uint8
    array = np.full((3, 3, 3) if mode == "RGB" else (3, 3), 100, dtype)
    array[1, 1] = key
    payload = struct.pack(">3H", *key) if mode == "RGB" else struct.pack(">H", key)
    picture = load(with_chunk(encoded(Pillow.fromarray(array), "PNG"), b"tRNS", payload))
    assert picture.alpha is not None
    assert picture.alpha[1, 1] == 0
    assert picture.alpha.sum() == 8
    assert np.allclose(picture.pixels, 100 / (65535 if mode == "I;16" else 255))


def test_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    array = samples(3, 16)
    array[2, 3] = [1000, 2000, 3000]
    array[2, 4] = [1001, 2000, 3000]  # differs in its low byte alone
    save(Picture.from_array(array), tmp_path / "a.png")
    picture = load(with_chunk((tmp_path / "a.png").read_bytes(), b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))
    assert picture.alpha is not None
    assert picture.alpha[2, 3] == 0
    assert picture.alpha.sum() == array.shape[0] * array.shape[1] - 1


def test_no_colour_bleeds_out_of_hidden_pixels(tmp_path: Path) -> None:
    array = np.zeros((32, 32, 4), np.uint8)
    array[8:24, 8:24] = [240, 120, 60, 255]
    Pillow.fromarray(array).save(tmp_path / "a.png")
    picture = load(tmp_path / "a.png")
    assert np.allclose(picture.pixels * 255, [240, 120, 60], atol=0.01)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PPM", "TGA"])
def test_other_formats_are_read(kind: str) -> None:
    image = Pillow.fromarray(samples(3)).quantize(64).convert("RGB")
    assert np.array_equal(back(load(encoded(image, kind)), 8, False), np.asarray(image))


def test_grey_palettes_are_grey() -> None:
    image = Pillow.fromarray(samples(1)[..., 0] // 16 * 16).convert("P")
    picture = load(encoded(image, "PNG"))
    assert picture.grey
    assert np.array_equal(back(picture, 8, False)[..., 0], samples(1)[..., 0] // 16 * 16)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_with_a_notice(kind: str) -> None:
    first, second = Pillow.new("RGB", (8, 8), (255, 0, 0)), Pillow.new("RGB", (8, 8), (0, 0, 255))
    picture = load(encoded(first, kind, save_all=True, append_images=[second]))
    assert picture.pixels[4, 4, 0] > 0.9
    assert picture.pixels[4, 4, 2] < 0.1
    assert "first" in picture.notices[0]


# --- colour ---------------------------------------------------------------------------------------------------------


def cmyk_profile() -> bytes:
    """A profile for a printer whose cyan ink is red: Lab of each of the 16 full mixes (ICC.1:2001-04, lut8Type)."""
    inks = np.array([[55, 70, 50], [60, 0, 0], [90, -5, 80], [5, 0, 0]], float)
    grid = b""
    for index in range(16):
        lab = np.array([100.0, 0, 0])
        for channel in range(4):
            if index >> (3 - channel) & 1:
                lab = np.array([lab[0] * inks[channel][0] / 100, lab[1] + inks[channel][1], lab[2] + inks[channel][2]])
        grid += bytes(
            [round(lab[0] * 2.55), round(np.clip(lab[1] + 128, 0, 255)), round(np.clip(lab[2] + 128, 0, 255))]
        )
    curve = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + curve * 4 + grid + curve * 3
    lut += b"\0" * (-len(lut) % 4)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"A2B0", lut), (b"A2B1", lut), (b"wtpt", white)]
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">2I", offset + len(body), len(data))
        body += data
    header = bytearray(128)
    struct.pack_into(
        ">I4sI4s4s4s", header, 0, 128 + len(table) + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    header[36:40] = b"acsp"
    struct.pack_into(">3i", header, 68, 63190, 65536, 54061)
    return bytes(header) + table + body


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(kind: str) -> None:
    image = Pillow.new("CMYK", (16, 16), (255, 0, 0, 0))
    plain = load(encoded(image, kind))
    assert plain.pixels[8, 8, 0] < 0.1
    assert plain.pixels[8, 8, 2] > 0.9
    assert "guess" in plain.notices[0]
    profiled = load(encoded(image, kind, icc_profile=cmyk_profile()))
    red, green, blue = profiled.pixels[8, 8]
    assert red > 0.7
    assert green < 0.4
    assert blue < 0.4
    assert profiled.icc is None
    assert profiled.notices == ()


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    colours = Pillow.new("RGB", (8, 8), (200, 90, 40))
    lab = ImageCms.applyTransform(colours, to_lab)
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    assert np.abs(load(tmp_path / "a.tif").pixels * 255 - [200, 90, 40]).max() < 4


@pytest.mark.parametrize(("suffix", "depth"), EVERY_DEPTH)
def test_the_colour_profile_is_kept_byte_for_byte(tmp_path: Path, suffix: str, depth: Any) -> None:
    profile = SRGB + b"\0" * 4  # not one that a library would supply by itself
    picture = load(encoded(Pillow.fromarray(samples(3)), "PNG", icc_profile=profile))
    assert picture.icc == profile
    save(picture, tmp_path / f"a.{suffix}", bit_depth=depth, metadata=False)
    assert load(tmp_path / f"a.{suffix}").icc == profile


def grey_profile() -> bytes:
    return SRGB[:16] + b"GRAY" + SRGB[20:]


@pytest.mark.parametrize("suffix", EVERY)
def test_a_profile_for_grey_stays_with_grey_and_with_nothing_else(tmp_path: Path, suffix: str) -> None:
    picture = load(encoded(Pillow.fromarray(samples(1)[..., 0]), "PNG", icc_profile=grey_profile()))
    assert picture.grey
    assert picture.icc is not None
    save(picture, tmp_path / f"a.{suffix}")
    with Pillow.open(tmp_path / f"a.{suffix}") as image:
        assert ("icc_profile" in image.info) == (image.mode == "L")


def test_grey_with_a_profile_for_rgb_is_written_as_neutral_rgb(tmp_path: Path) -> None:
    picture = load(encoded(Pillow.fromarray(samples(1)[..., 0]), "JPEG", icc_profile=SRGB))
    save(picture, tmp_path / "a.png")
    again = load(tmp_path / "a.png")
    assert not again.grey
    assert again.icc == SRGB
    assert np.ptp(again.pixels, axis=2).max() == 0


@pytest.mark.parametrize("profile", [grey_profile(), b"not a profile" * 20, SRGB[:16] + b"CMYK" + SRGB[20:]])
def test_a_profile_that_does_not_fit_is_left_out(profile: bytes) -> None:
    picture = load(encoded(Pillow.fromarray(samples(3)), "JPEG", icc_profile=profile))
    assert picture.icc is None
    assert "profile" in picture.notices[0]


def test_quantisation_tables_of_a_jpeg() -> None:
    image = Pillow.fromarray(samples(3))
    picture = load(encoded(image, "JPEG", quality=40))
    assert picture.jpeg_quantisation is not None
    assert len(picture.jpeg_quantisation) == 2
    assert picture.jpeg_quantisation[0][:3] == (20, 14, 13)  # 16, 11, 10 of ITU-T T.81 annex K, at quality 40
    turned = load(encoded(image, "JPEG", quality=40, exif=exif_block(6)))
    assert turned.jpeg_quantisation is not None
    assert turned.jpeg_quantisation[0][1:2] == picture.jpeg_quantisation[0][8:9]
    assert load(encoded(image, "PNG")).jpeg_quantisation is None


# --- description ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_exactly_once(tmp_path: Path, orientation: int, kind: str) -> None:
    image = Pillow.fromarray(samples(3).repeat(8, axis=0).repeat(8, axis=1))
    options: dict[str, Any] = {"quality": 95} if kind in {"JPEG", "WEBP"} else {}
    data = encoded(image, kind, exif=exif_block(orientation), **options)
    with Pillow.open(io.BytesIO(encoded(image, kind, **options))) as plain:
        plain.load()
        plain.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(plain)).astype(np.float32) / 255
    for source in (load(data), load(Pillow.open(io.BytesIO(data)))):
        assert np.array_equal(source.pixels, expected)
        assert 0x0112 not in parsed(source)[0]
        save(source, tmp_path / "a.png", overwrite=True)
        again = load(tmp_path / "a.png")
        assert np.array_equal(again.pixels, expected)
        assert parsed(again)[0][0x010F] == "Camera & Co"


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_the_size_in_the_header_is_that_of_the_picture(kind: str, orientation: int, mode: str, tmp_path: Path) -> None:
    if kind == "JPEG" and mode in ("RGBA", "P"):
        pytest.skip("JPEG has no such mode")
    data = encoded(Pillow.fromarray(samples(3)).convert(mode), kind, exif=exif_block(orientation))
    (tmp_path / "picture").write_bytes(data)
    size = files.size_in_header(tmp_path / "picture")
    assert size == files.size_in_header(data)
    if kind != "TIFF" and mode in ("RGB", "L"):
        assert size == load(data).size
    else:
        assert size in (None, load(data).size)


def test_the_header_is_enough_where_the_pixels_are_missing_and_limits_hold(tmp_path: Path) -> None:
    data = encoded(Pillow.fromarray(samples(3, height=300, width=400)), "JPEG")
    assert files.size_in_header(data[: len(data) // 3]) == Size(400, 300)
    assert files.size_in_header(load(data)) is None
    with pytest.raises(ImageError, match=r"400x300 is 0 megapixels, above the limit"):
        files.size_in_header(data, max_pixels=1000)
    for wrong in (b"", b"no picture", tmp_path / "missing.jpg"):
        with pytest.raises(ImageError):
            files.size_in_header(wrong)
    plain, chunk = encoded(Pillow.fromarray(samples(3)), "PNG"), b"eXIf" + exif_block(6)[6:]
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    turned = plain[:-12] + late + plain[-12:]
    assert files.size_in_header(turned) == load(turned).size == Size(23, 31)


def test_orientation_of_a_16_bit_tiff(tmp_path: Path) -> None:
    array = samples(3, 16)
    for name, planes, config in (("a.tif", array, "contig"), ("b.tif", np.moveaxis(array, 2, 0), "separate")):
        tifffile.imwrite(
            tmp_path / name,
            planes,
            photometric="rgb",
            planarconfig=config,
            metadata=None,
            extratags=[(274, "H", 1, 6, True)],
        )
        assert np.array_equal(back(load(tmp_path / name), 16, False), np.rot90(array, -1))


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize("gps", [True, False])
def test_exif_travels_and_place_on_request(tmp_path: Path, suffix: str, gps: bool) -> None:
    source = load(encoded(Pillow.fromarray(samples(3)), "JPEG", exif=exif_block()))
    twice = Picture.from_array(source.pixels.repeat(2, axis=0).repeat(2, axis=1))
    save(replace(twice, exif=source.exif), tmp_path / f"a.{suffix}", gps=gps)
    main, exposure, place = parsed(load(tmp_path / f"a.{suffix}"))
    assert main[0x010F] == "Camera & Co"
    assert main[0x8298] == "(c) somebody"
    assert exposure[0x9003] == "2024:05:06 07:08:09"
    assert float(exposure[0x829A]) == 0.005
    assert (exposure[0xA002], exposure[0xA003]) == (62, 46)
    assert (place.get(1), place.get(2)) == (("N", (48.0, 51.0, 24.0)) if gps else (None, None))


@pytest.mark.parametrize("suffix", EVERY)
def test_one_switch_strips_everything_but_the_colours(tmp_path: Path, suffix: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "secret words")
    source = load(encoded(Pillow.fromarray(samples(3)), "PNG", exif=exif_block(), pnginfo=info))
    path = tmp_path / f"a.{suffix}"
    save(source, path, metadata=False, settings_json=json.dumps(SETTINGS))
    again = load(path)
    assert not set(parsed(again)[0]) - {282, 283, 296}  # a TIFF states its resolution
    assert again.text == {}
    assert read_settings(path) is None
    data = path.read_bytes()
    assert b"secret" not in data
    assert b"Camera" not in data
    assert b"scale" not in data


def test_the_thumbnail_is_dropped(tmp_path: Path) -> None:
    thumbnail = b"\xff\xd8THUMBNAIL\xff\xd9"
    maker = b"Camera & Co\0"
    first = struct.pack("<H", 1) + struct.pack("<HHII", 0x010F, 2, len(maker), 26) + struct.pack("<I", 26 + len(maker))
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 26 + len(maker) + 30)
    second += struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail)) + struct.pack("<I", 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + maker + second + thumbnail
    data = encoded(Pillow.fromarray(samples(3)), "JPEG", exif=block)
    assert b"THUMBNAIL" in data
    save(load(data), tmp_path / "a.jpg")
    assert b"THUMBNAIL" not in (tmp_path / "a.jpg").read_bytes()
    assert parsed(load(tmp_path / "a.jpg"))[0][0x010F] == "Camera & Co"


@pytest.mark.parametrize("block", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0"])
def test_a_damaged_exif_block_costs_the_block_alone(block: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = load(encoded(Pillow.fromarray(samples(3)), "PNG", exif=block))
    assert picture.size == (31, 23)
    assert parsed(picture)[0] == {}


@pytest.mark.parametrize(("suffix", "depth"), EVERY_DEPTH)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_settings_come_back(tmp_path: Path, suffix: str, channels: int, depth: Any) -> None:
    path = tmp_path / f"a.{suffix}"
    save(Picture.from_array(samples(channels, depth)), path, settings_json=json.dumps(SETTINGS), bit_depth=depth)
    assert read_settings(path) == SETTINGS
    assert read_settings(path.read_bytes()) == SETTINGS
    save(load(path), tmp_path / f"b.{suffix}")  # settings of an earlier run are not those of the next
    assert read_settings(tmp_path / f"b.{suffix}") is None


@pytest.mark.parametrize("suffix", EVERY)
def test_texts_of_the_source_travel_through_every_format(tmp_path: Path, suffix: str) -> None:
    texts = {"parameters": "a cat\nSteps: 20", "workflow": '{"nodes": []}', "Author": "Ł. Ångström"}
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    info.add_text("upscaler", '{"old": 1}')
    info.add_text("XML:com.adobe.xmp", "<x/>")
    source = load(encoded(Pillow.fromarray(samples(3)), "PNG", pnginfo=info))
    assert source.text == texts
    path = tmp_path / f"a.{suffix}"
    save(source, path, settings_json=json.dumps(SETTINGS))
    assert load(path).text == texts
    assert read_settings(path) == SETTINGS
    save(load(path), tmp_path / "b.png")
    assert load(tmp_path / "b.png").text == texts


@pytest.mark.parametrize("comment", [b"ASCII\0\0\0on the beach", b"UNICODE\0" + "naïve".encode("utf-16-be")])
def test_a_comment_of_the_camera_survives_ours(tmp_path: Path, comment: bytes) -> None:
    exif = Pillow.Exif()
    exif[EXIF_IFD] = {0x9286: comment}
    source = load(encoded(Pillow.fromarray(samples(3)), "JPEG", exif=exif.tobytes()))
    save(source, tmp_path / "a.jpg", settings_json=json.dumps(SETTINGS))
    assert read_settings(tmp_path / "a.jpg") == SETTINGS
    again = load(tmp_path / "a.jpg")
    assert parsed(again)[1][0x9286] == comment
    assert again.text == {}


def test_texts_that_a_png_cannot_name_do_not_stop_it(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    texts = {"upscaler": None, "": "a", "k" * 200: "b", "日本": "c", "number": 5, "half": "\ud800"}
    exif[EXIF_IFD] = {0x9286: b"ASCII\0\0\0" + json.dumps(texts).encode()}
    save(load(encoded(Pillow.fromarray(samples(3)), "JPEG", exif=exif.tobytes())), tmp_path / "a.png")
    assert load(tmp_path / "a.png").text == {"k" * 79: "b", "??": "c", "number": "5", "half": "?"}


@pytest.mark.parametrize(("suffix", "lost"), [("jpg", True), ("webp", False), ("png", False)])
def test_a_long_workflow_gives_way_to_the_settings(tmp_path: Path, suffix: str, lost: bool) -> None:
    source = Picture(smooth().pixels, text={"workflow": "x" * 70_000}, exif=exif_block())
    notices = save(source, tmp_path / f"a.{suffix}", settings_json=json.dumps(SETTINGS))
    assert bool(notices) == lost
    assert all("texts" in notice for notice in notices)
    again = load(tmp_path / f"a.{suffix}")
    assert read_settings(tmp_path / f"a.{suffix}") == SETTINGS
    assert again.text == ({} if lost else source.text)
    assert parsed(again)[0][0x010F] == "Camera & Co"


@pytest.mark.parametrize("text", ["[1]", "null", "{", '"x"', "[" * 100_000])
def test_what_is_not_settings_is_none(text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("upscaler", text)
    assert read_settings(encoded(Pillow.fromarray(samples(3)), "PNG", pnginfo=info)) is None
    assert read_settings(encoded(Pillow.fromarray(samples(3)), "JPEG")) is None


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, existing: bool
) -> None:
    path = tmp_path / "a.png"
    if existing:
        path.write_bytes(b"before")

    def fail(picture: Picture, stream: Any, *rest: Any) -> None:
        stream.write(b"half a picture")
        stream.flush()
        assert len(list(tmp_path.iterdir())) == 1 + existing
        raise failure

    monkeypatch.setattr(files, "write", fail)
    with pytest.raises(ImageError if isinstance(failure, OSError) else type(failure)):
        save(smooth(), path, overwrite=existing)
    assert [p.name for p in tmp_path.iterdir()] == (["a.png"] if existing else [])
    assert not existing or path.read_bytes() == b"before"


def test_existing_files_are_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(ImageError, match="already exists"):
        save(smooth(), path)
    assert path.read_bytes() == b"before"
    save(smooth(), path, overwrite=True)
    assert load(path).size == (56, 40)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="no such permissions")
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    save(smooth(), tmp_path / "a.png")
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize(
    ("name", "size", "options", "words"),
    [
        ("a.jpg", (65501, 10), {}, "65500"),
        ("a.webp", (10, 16384), {}, "16383"),
        pytest.param("a.avif", (32769, 10), {}, "32768", marks=AVIF),
        pytest.param("a.avif", (20000, 20000), {}, "256 Mi", marks=AVIF),
        ("a.jpg", (8, 8), {"bit_depth": 16}, "8 bits"),
        ("a.png", (8, 8), {"format": "webp", "bit_depth": 16}, "8 bits"),
        ("a.gif", (8, 8), {}, "allowed are PNG, JPEG"),
        ("a", (8, 8), {}, "suffix ''"),
        ("a.png", (8, 8), {"format": "svg"}, "'svg'"),
        ("no/a.png", (8, 8), {}, "no folder"),
        ("folder.png", (8, 8), {}, "is a folder"),
    ],
)
def test_outputs_are_checked_before_the_work(
    tmp_path: Path, name: str, size: tuple[int, int], options: dict[str, Any], words: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError) as caught:
        check_output(tmp_path / name, Size(*size), **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert name.split("/")[-1] in str(caught.value)


def test_outputs_that_fit(tmp_path: Path) -> None:
    check_output(tmp_path / "a.JPEG", Size(65500, 65500))
    check_output(tmp_path / "a.dat", Size(8, 8), format="tif", bit_depth=16)
    check_output(tmp_path / "a.png", Size(100_000, 100_000))
    assert list(tmp_path.iterdir()) == []


# --- refusing -------------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, data, b"IEND")
    )


def test_decompression_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(100_000, 100_000))
    usual = Pillow.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError) as caught:
        load(tmp_path / "bomb.png")
    assert str(caught.value).endswith(
        "bomb.png: 100000x100000 is 10000 megapixels, above the limit of 256; raise output.max_pixels to 10000"
    )
    assert usual == Pillow.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "GIF", "BMP"])
def test_the_limit_is_ours_and_pillows_stays(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Pillow.fromarray(samples(3)), kind)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)  # the picture has 713, more than twice that
    assert load(data, max_pixels=713).size == (31, 23)
    assert Pillow.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ImageError, match=r"output\.max_pixels to 1$"):
        load(data, max_pixels=712)
    assert Pillow.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ImageError, match=r"output\.max_pixels to 1$"):
        load(Pillow.fromarray(samples(3)), max_pixels=712)


def test_more_channels_than_a_picture_has(tmp_path: Path) -> None:
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "few.tif", np.full((4, 4, 5), 0.5, np.float32), planarconfig="contig", **options)
    assert load(tmp_path / "few.tif").size == (4, 4)
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((4, 4, 99), np.float32), planarconfig="contig", **options)
    with pytest.raises(ImageError, match="99 channels; at most 16 are read"):
        load(tmp_path / "many.tif")


def test_a_bomb_that_only_tifffile_reads(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((50, 50, 3), np.float32), photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match=r"output\.max_pixels to 1$"):
        load(tmp_path / "a.tif", max_pixels=2499)


def test_many_threads_leave_pillows_limit_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    data = [
        encoded(Pillow.fromarray(samples(3, 8, height)), kind)
        for height in (20, 90)
        for kind in ("TIFF", "WEBP", "GIF")
    ]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                for item in data:
                    load(item)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Pillow.MAX_IMAGE_PIXELS == 100


def test_no_limit_is_advised_that_cannot_be_set(tmp_path: Path) -> None:
    path = tmp_path / "vast.png"
    path.write_bytes(png_header(2**31 - 1, 2**31 - 1))
    with pytest.raises(ImageError, match="no more than 65536 can be read"):
        load(path)


@pytest.mark.parametrize(
    ("suffix", "depth"),
    [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8), ("tif", 16), pytest.param("avif", 8, marks=AVIF)],
)
def test_cut_off_files(tmp_path: Path, suffix: str, depth: Any) -> None:
    path = tmp_path / f"a.{suffix}"
    save(Picture.from_array(samples(3, depth, 200)), path, bit_depth=depth)
    data = path.read_bytes()
    for length in (3, 20, 60, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, I am a text\n", "allowed are PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "allowed are PNG"),
        (b"II*\0\x08\0\0\0", "a.png"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (png_header(0, 5), "a.png"),
    ],
)
def test_what_is_not_a_picture(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (load, read_settings):
        with pytest.raises(ImageError) as caught:
            read(tmp_path / "a.png")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "no.png", "No such file"),
        (tmp_path, "is a folder"),
        ("a\0b.png", "cannot be opened"),
    ):
        with pytest.raises(ImageError, match=words):
            load(path)
    with pytest.raises(ImageError, match="int: not a picture"):
        load(3)  # pyright: ignore[reportArgumentType]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ImageError, match="not a regular file"):
            load(tmp_path / "pipe")


def test_a_text_chunk_that_unpacks_to_much_is_refused() -> None:
    data = with_chunk(
        encoded(Pillow.fromarray(samples(3)), "PNG"), b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20))
    )
    with pytest.raises(ImageError, match="picture: "):
        load(data)


@pytest.mark.parametrize(
    ("suffix", "depth"), [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8), ("tif", 16)]
)
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str, depth: Any) -> None:
    source = Picture.from_array(samples(4, depth, 12))
    save(
        Picture(source.pixels, exif=exif_block(3), text={"a": "b"}, icc=SRGB), tmp_path / f"a.{suffix}", bit_depth=depth
    )
    data = (tmp_path / f"a.{suffix}").read_bytes()
    generator = np.random.default_rng(5)
    outcomes = {True: 0, False: 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            broken = bytearray(data)
            for position in generator.integers(0, len(data), 3):
                broken[position] = generator.integers(0, 256)
            try:
                outcomes[load(bytes(broken), max_pixels=100_000).pixels.size > 0] += 1
                read_settings(bytes(broken))
            except ImageError:
                outcomes[False] += 1
    assert sum(outcomes.values()) >= 150
    assert outcomes[False] > 0


def test_every_kind_of_source(tmp_path: Path) -> None:
    data = encoded(Pillow.fromarray(samples(3)), "PNG")
    path = tmp_path / "ein Bild, größer.png"
    path.write_bytes(data)

    class Pipe(io.RawIOBase):
        """A stream that cannot seek."""

        stream = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.stream.readinto(buffer)

    with path.open("rb") as stream, Pillow.open(path) as image:
        sources = [path, str(path), data, io.BytesIO(data), stream, io.BufferedReader(Pipe()), image, samples(3)]
        pictures = [load(source) for source in sources]
    assert all(np.array_equal(picture.pixels, pictures[0].pixels) for picture in pictures)
    assert load(pictures[0]) is pictures[0]
    assert pictures[0].source == str(path)
    assert pictures[0].format == "PNG"
    assert pictures[2].source is None


INFOTEXT = "a cat on a wall, <lora:fur:0.8>\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("source", ["png", "jpeg", "webp"])
def test_how_a_picture_was_generated_stays_where_other_programs_look_for_it(
    source: str, suffix: str, tmp_path: Path
) -> None:
    image, stream = Pillow.new("RGB", (16, 16), "teal"), io.BytesIO()
    if source == "png":
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", INFOTEXT)
        image.save(stream, "PNG", pnginfo=info)
    else:
        exif = Pillow.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + INFOTEXT.encode("utf-16-be")
        image.save(stream, source, exif=exif)
    settings = Settings.of(scale=2, strength=0.3)
    picture = load(stream.getvalue())
    assert picture.text["parameters"] == INFOTEXT
    path = tmp_path / f"out{suffix}"
    assert save(picture, path, settings_json=settings.to_json()) == ()
    assert read_settings(path) == settings.to_dict()
    with Pillow.open(path) as written:
        written.load()
        comment = written.getexif().get_ifd(0x8769).get(0x9286, b"")
        if suffix == ".png":
            assert written.text["parameters"] == INFOTEXT
        else:
            name, body = comment[:8], comment[8:]
            assert body.decode("utf-16-be" if name.startswith(b"UNICODE") else "ascii") == INFOTEXT
    again = load(path)
    assert again.text["parameters"] == INFOTEXT
    assert "upscaler" not in again.text
