"""The samples of the presets: there is one for each, made by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upscaler_ui.samples import make

from upscaler.options import presets

BUILTIN = [preset for preset in presets.presets() if preset.builtin]


def stored(name: str) -> Image.Image:
    with Image.open(Path(make.__file__).parent / f"{name}.webp") as file:
        return file.convert("RGB")


@pytest.mark.parametrize("preset", BUILTIN, ids=lambda preset: preset.name)
def test_it_shows_before_and_after(preset: presets.Preset) -> None:
    """The left half is the source enlarged by a bicubic filter, and the right half is not."""
    image, source = stored(preset.name), make.sources()[preset.name]
    assert image.size == (make.SIDE, make.SIDE)
    whole = source.resize((source.width * make.FACTOR, source.height * make.FACTOR), Image.Resampling.BICUBIC)
    left, top = ((side - make.SIDE) // 2 for side in whole.size)
    before = whole.crop((left, top, left + make.SIDE, top + make.SIDE))
    difference = np.abs(np.asarray(image, np.float32) - np.asarray(before, np.float32)).mean(axis=(0, 2))
    half = make.SIDE // 2
    assert difference[: half - 4].mean() < 3, "more than WebP's compression explains"
    assert difference[half + 4 :].mean() > 1.5 * difference[: half - 4].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anime", "fast"])
def test_it_comes_from_a_real_run(name: str) -> None:
    again = make.sample(presets.get(name), make.sources()[name])
    assert np.abs(np.asarray(stored(name), np.float32) - np.asarray(again, np.float32)).mean() < 3
