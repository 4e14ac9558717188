"""Pictures that are read row by row into a store: what the usual reader makes of the same file, to the bit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from upscaler.arrays.store import Store
from upscaler.errors import ImageError
from upscaler.geometry import Size
from upscaler.pictures import files
from upscaler.pictures.files import load, read_settings, size_in_header
from upscaler.pictures.picture import Picture

SRGB: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SHAPE = (1500, 700)  # several strips


def image(rng: np.random.Generator, channels: int, kind: Any = np.uint8) -> Any:
    smooth = np.add.outer(np.arange(SHAPE[0]), 2 * np.arange(SHAPE[1]))[..., None] * np.arange(1, channels + 1) % 200
    samples = (smooth + rng.integers(0, 50, (*SHAPE, channels))).astype(np.uint8)
    return samples if kind is np.uint8 else samples.astype(np.uint16) * 257 + rng.integers(0, 256, samples.shape, kind)


def turned(orientation: int) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112], exif[306] = orientation, "2020:01:01 00:00:00"
    return exif


def write(path: Path, what: str, rng: np.random.Generator) -> None:
    kind, _, rest = what.partition(" ")
    if rest.startswith("16"):
        channels = int(rest.split()[1])
        samples = image(rng, channels, np.uint16)
        if kind == "tif":
            extra: Any = ["unassalpha"] if channels == 4 else None
            options = {"photometric": "rgb" if channels > 2 else "minisblack", "extrasamples": extra}
            tifffile.imwrite(path, samples[..., 0] if channels == 1 else samples, **options, rowsperstrip=64)
        else:
            files.save(Picture.from_array(samples), path, bit_depth=16)
        return
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[rest.split()[0]]
    samples = image(rng, channels)
    picture = Pillow.fromarray(samples[..., 0] if channels == 1 else samples)
    options = {}
    if "turned" in rest:
        options["exif"] = turned(int(rest[-1]))
    if kind == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("parameters", "a barn", zip=True)
        options["pnginfo"].add_itxt("later", "behind the pixels", "en", "")
        options["compress_level"] = 1
    if kind == "tif" and "lzw" in rest:
        options["compression"] = "tiff_lzw"
    if kind == "jpg":
        options |= {"quality": 90, "progressive": "progressive" in rest, "subsampling": 2 if "420" in rest else 0}
    picture.save(path, **options, **({"icc_profile": SRGB} if channels > 2 else {}))


READ_IN_ROWS = [
    *("png L", "png LA", "png RGB", "png RGBA", "png RGB turned 6", "png 16 1", "png 16 3", "png 16 4"),
    *(
        "jpg L",
        "jpg RGB",
        "jpg RGB 420",
        "jpg RGB progressive",
        *(f"jpg RGB 420 turned {number}" for number in (3, 5, 8)),
    ),
    *(
        "tif L",
        "tif RGB",
        "tif RGB lzw",
        "tif RGBA",
        "tif RGB turned 6",
        "tif RGB turned 2",
        "tif 16 1",
        "tif 16 3",
        "tif 16 4",
    ),
]


@pytest.mark.parametrize("what", READ_IN_ROWS)
def test_a_picture_in_rows_is_the_one_that_is_read_at_once(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = tmp_path / f"a.{what.split()[0]}"
    write(path, what, rng)
    expected = load(path)
    monkeypatch.setattr(files, "decode", None)  # it is not held decoded
    found = load(path, store=lambda size: Store(tmp_path))
    assert type(found.pixels.base).__name__ == "memmap"
    same(found, expected)
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "make",
    [
        lambda picture: (picture.convert("CMYK"), "jpg", {}),
        lambda picture: (picture.convert("P"), "png", {}),
        lambda picture: (picture.convert("1"), "png", {}),
        lambda picture: (picture, "webp", {}),
        lambda picture: (picture, "png", {"transparency": (0, 0, 0)}),
    ],
    ids=["cmyk", "palette", "black and white", "webp", "colour key"],
)
def test_others_are_kept_in_the_store_too(
    tmp_path: Path, rng: np.random.Generator, make: Callable[[Pillow.Image], tuple[Pillow.Image, str, dict[str, Any]]]
) -> None:
    picture, suffix, options = make(Pillow.fromarray(image(rng, 3)[:200]))
    path = tmp_path / f"a.{suffix}"
    picture.save(path, **options)
    found = load(path, store=lambda size: Store(tmp_path))
    assert type(found.pixels.base).__name__ == "memmap"
    same(found, load(path))


def same(found: Picture, expected: Picture) -> None:
    for field in fields(Picture):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other)
            assert one.flags.c_contiguous
        else:
            assert one == other, field.name


@pytest.mark.parametrize("what", ["png RGB", "jpg RGB", "tif RGB lzw"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, rng: np.random.Generator, what: str) -> None:
    path = tmp_path / f"a.{what.split()[0]}"
    write(path, what, rng)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match="damaged"):
        load(path, store=lambda size: Store(tmp_path))


def test_what_stands_behind_the_pixels_of_a_png_is_read_without_them(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Pillow.fromarray(image(rng, 3)[:40]).save(path)
    block = turned(6).tobytes()[6:]
    content = path.read_bytes()
    chunk = len(block).to_bytes(4, "big") + b"eXIf" + block + zlib.crc32(b"eXIf" + block).to_bytes(4, "big")
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert load(path).size == Size(40, 700)
    usual = PngImagePlugin.PngImageFile.load
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: (sizes.append(self.size), usual(self))[1])
    assert size_in_header(path) == Size(40, 700)
    assert read_settings(path) is None
    assert set(sizes) == {(1, 1)}
