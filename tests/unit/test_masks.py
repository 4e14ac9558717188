"""Masks: how they are read, how they fade in, and that what they leave out has the bytes of a run without diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import upscaler
from upscaler import testing
from upscaler.cli import main
from upscaler.errors import ImageError
from upscaler.events import Notice
from upscaler.geometry import Box, Size, Wrap
from upscaler.models.base import Habits
from upscaler.pictures.files import load
from upscaler.pictures.masks import load_mask
from upscaler.tiling.mask import Mask

PHOTO = Path(upscaler.__file__).parents[1] / "examples" / "photo.png"
OPTIONS = {"scale": 2, "tile": 128, "overlap": 32, "feather": 16, "gan": "none"}


def test_white_is_redrawn_and_black_or_transparent_is_not(tmp_path: Path) -> None:
    picture = Pillow.new("RGBA", (4, 1), (255, 255, 255, 255))
    picture.putpixel((1, 0), (0, 0, 0, 255))
    picture.putpixel((2, 0), (255, 255, 255, 0))
    picture.putpixel((3, 0), (128, 128, 128, 255))
    picture.save(tmp_path / "mask.png")
    np.testing.assert_allclose(load_mask(tmp_path / "mask.png", Size(40, 10)), [[1, 0, 0, 128 / 255]], atol=1e-6)
    grey = np.array([[0.0, 0.25, 1.0]], np.float32)
    np.testing.assert_array_equal(load_mask(grey, Size(3, 1)), grey)


def test_a_mask_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    Pillow.new("1", (20000, 15000)).save(tmp_path / "bomb.png")
    with pytest.raises(ImageError, match=r"bomb\.png.*raise output\.max_pixels to 300"):
        load_mask(tmp_path / "bomb.png", Size(800, 600))
    with pytest.raises(ImageError, match=r"bomb\.png.*raise output\.max_pixels to 300"):
        upscaler.upscale(np.zeros((60, 80, 3), np.float32), mask=tmp_path / "bomb.png", model="none", **OPTIONS)


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (1333, 1000), (3, 2)])
def test_a_mask_may_have_any_size_of_the_same_shape(size: tuple[int, int]) -> None:
    assert load_mask(Pillow.new("L", size, 255), Size(800, 600)).shape == size[::-1]


def test_a_mask_of_another_shape_is_refused_in_one_line(tmp_path: Path) -> None:
    Pillow.new("L", (512, 512)).save(tmp_path / "square.png")
    with pytest.raises(
        ImageError, match=r"square.png: 512x512 does not have the shape of the picture \(640x480\); give"
    ):
        load_mask(tmp_path / "square.png", Size(640, 480))


def test_hard_edges_fade_in_and_soft_ones_stay() -> None:
    hard = np.zeros((40, 60), np.float32)
    hard[:, 20:] = 1
    row = Mask(hard, Size(60, 40), feather=8).under(Box(0, 0, 60, 40))[7, :, 0]
    assert not row[:20].any()
    assert (np.diff(row[19:29]) > 0).all(), "it rises from the edge on"
    assert (row[28:] == 1).all(), "up to the picture's own edge"
    soft = np.broadcast_to(np.linspace(0, 1, 60, dtype=np.float32), (40, 60)).copy()
    np.testing.assert_allclose(Mask(soft, Size(60, 40), feather=4).under(Box(0, 0, 60, 40))[..., 0], soft, atol=0.02)
    half = np.full((40, 60), 0.5, np.float32)
    assert (Mask(half, Size(60, 40), feather=8).under(Box(0, 0, 60, 40)) == 0.5).all()


def test_a_mask_goes_on_at_the_other_side_where_the_picture_does() -> None:
    values = np.ones((20, 30), np.float32)
    values[:, 0] = 0
    row = Mask(values, Size(30, 20), feather=6, wrap=Wrap(x=True, y=False)).under(Box(0, 0, 30, 20))[3, :, 0]
    np.testing.assert_array_equal(row[1:], row[1:][::-1])


@pytest.mark.parametrize("first_stage", ["any", "bicubic"])
def test_what_a_mask_leaves_out_has_the_bytes_of_a_run_without_diffusion(first_stage: Any) -> None:
    refiner, identity = testing.InvertRefiner(), testing.IdentityRefiner()
    refiner.habits = identity.habits = Habits(first_stage=first_stage)  # type: ignore[attr-defined]
    photo = upscaler.Picture(load(PHOTO).pixels[100:196, 100:228].copy())
    mask = np.zeros((192, 256), np.float32)
    mask[40:120, 60:200] = 1
    without = {"model": "none"} if first_stage == "any" else {"refiner": identity}  # its first stage is its own
    plain = upscaler.upscale(photo, **without, **OPTIONS).pixels
    redrawn = upscaler.upscale(photo, refiner=refiner, mask=mask, strength=1.0, **OPTIONS).pixels
    assert redrawn[mask == 0].tobytes() == plain[mask == 0].tobytes()
    assert np.abs(redrawn - plain)[60:100, 80:180].max() > 4 / 255


def test_a_mask_without_a_diffusion_pass_is_told() -> None:
    events = upscaler.run(np.zeros((16, 16), np.float32), mask=np.ones((4, 4)), model="none", **OPTIONS)
    assert any("the mask has no effect" in event.message for event in events if isinstance(event, Notice))


def test_the_command_line_takes_a_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upscaler.save(upscaler.Picture(load(PHOTO).pixels[100:148, 100:164].copy()), tmp_path / "photo.png")
    mask = Pillow.new("L", (128, 96))
    mask.paste(255, (0, 0, 64, 96))
    mask.save(tmp_path / "mask.png")
    for name, extra in (("plain", ["-m", "none"]), ("part", ["--mask", str(tmp_path / "mask.png"), "--strength", "1"])):
        command = ["run", str(tmp_path / "photo.png"), "-o", str(tmp_path / f"{name}.png"), "-n", "none", "-s", "2"]
        assert main([*command, "-q", *extra]) == 0
    plain, part = (np.asarray(Pillow.open(tmp_path / f"{name}.png")) for name in ("plain", "part"))
    assert (plain[:, 64:] == part[:, 64:]).all()
    assert (plain[:, :56] != part[:, :56]).any()
    command[3] = str(tmp_path / "other.png")
    assert main([*command, "--mask", str(tmp_path / "photo.png.none")]) == 3
    Pillow.new("L", (64, 64)).save(tmp_path / "square.png")
    assert main([*command, "--mask", str(tmp_path / "square.png")]) == 3
    assert "does not have the shape of the picture" in capsys.readouterr().err
    assert not (tmp_path / "other.png").exists()
