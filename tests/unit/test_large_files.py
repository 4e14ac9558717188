"""Files of pictures that are written from strips: the same pixels as those that are written as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from PIL.JpegImagePlugin import get_sampling

from upscaler.errors import ImageError
from upscaler.pictures import encode
from upscaler.pictures.files import check_output, load, read_settings, save
from upscaler.pictures.picture import Picture

SRGB: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_WHOLE", {"PNG": 100, "JPEG": 100})


def picture(rng: np.random.Generator, *, alpha: bool = False, grey: bool = False) -> Picture:
    ramp = np.linspace(0, 1, 700, dtype=np.float32)
    pixels = np.stack([np.broadcast_to(ramp, (600, 700)), np.broadcast_to(ramp[:600, None], (600, 700))] * 2, axis=2)[
        ..., :3
    ]
    pixels = np.ascontiguousarray(np.clip(pixels + rng.normal(0, 0.02, pixels.shape), 0, 1), np.float32)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    opacity = rng.random((600, 700)).astype(np.float32) if alpha else None
    return Picture(pixels, alpha=opacity, grey=grey, icc=None if grey else SRGB, text={"parameters": "a barn"})


@pytest.mark.parametrize(("alpha", "grey"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_png_from_strips_is_the_one_that_pillow_writes(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, alpha: bool, grey: bool
) -> None:
    source = picture(rng, alpha=alpha, grey=grey)
    save(source, tmp_path / "whole.png", settings_json=json.dumps({"seed": 1}))
    monkeypatch.setattr(encode, "_WHOLE", {"PNG": 100, "JPEG": 100})
    save(source, tmp_path / "strips.png", settings_json=json.dumps({"seed": 1}))
    whole, strips = (Pillow.open(tmp_path / name) for name in ("whole.png", "strips.png"))
    assert strips.mode == whole.mode
    assert strips.tobytes() == whole.tobytes()
    assert strips.info.get("icc_profile") == whole.info.get("icc_profile")
    assert strips.info["parameters"] == "a barn"
    assert read_settings(tmp_path / "strips.png") == {"seed": 1}


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.usefixtures("large")
def test_a_jpeg_from_rows_on_disk_is_near_the_one_that_pillow_writes(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, grey: bool
) -> None:
    pytest.importorskip("pyvips", reason="needs the extra large")
    source = picture(rng, grey=grey)
    save(source, tmp_path / "rows.jpg", settings_json=json.dumps({"seed": 1}))
    monkeypatch.setattr(encode, "_WHOLE", {"JPEG": 1 << 28})
    save(source, tmp_path / "whole.jpg", settings_json=json.dumps({"seed": 1}))
    rows, whole = load(tmp_path / "rows.jpg"), load(tmp_path / "whole.jpg")
    assert np.abs(rows.pixels - whole.pixels).mean() < 0.5 / 255
    assert (rows.grey, rows.icc) == (whole.grey, whole.icc)
    assert read_settings(tmp_path / "rows.jpg") == {"seed": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jpg", "whole.jpg"]


def test_deep_zoom_is_a_file_and_a_folder_of_tiles(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("pyvips", reason="needs the extra large")
    source = picture(rng)
    (notice,) = save(source, tmp_path / "zoom.dzi")
    assert "no EXIF" in notice
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zoom.dzi", "zoom_files"]
    assert 'Width="700"' in (tmp_path / "zoom.dzi").read_text()
    level = max(int(path.name) for path in (tmp_path / "zoom_files").iterdir() if path.is_dir())
    tile = Pillow.open(tmp_path / "zoom_files" / str(level) / "1_1.jpg")
    assert tile.size == (256, 256)
    assert get_sampling(tile) == 0  # colour at full resolution
    expected = source.pixels[253:509, 253:509]
    assert np.abs(np.asarray(tile, np.float32) / 255 - expected).mean() < 4 / 255
    with pytest.raises(ImageError, match="already exists"):
        save(source, tmp_path / "zoom.dzi")
    save(source, tmp_path / "zoom.dzi", overwrite=True)


@pytest.mark.usefixtures("large")
def test_without_pyvips_it_is_told_what_to_install(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyvips", None)
    for name in ("large.jpg", "zoom.dzi"):
        check_output(tmp_path / name, picture(rng).size)
        with pytest.raises(ImageError, match=r"tiled-diffusion-upscaler\[large\]"):
            save(picture(rng), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
