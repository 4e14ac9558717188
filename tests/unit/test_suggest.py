"""Which look is suggested for which picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from upscaler.pictures.files import load
from upscaler.pictures.picture import Picture
from upscaler.stages.suggest import measure, suggest


def drawing(side: int = 256) -> np.ndarray:
    """Dark rings on flat colours."""
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(x - side / 2, y - side / 2)
    picture = np.full((side, side, 3), (0.95, 0.85, 0.8), np.float32)
    picture[radius < side / 3] = (0.2, 0.4, 0.9)
    picture[np.abs(radius - side / 3) < 3] = 0.02
    return picture


def test_line_art_gets_anime_and_says_why() -> None:
    found = suggest(drawing())
    assert found is not None
    assert found.look == "anime"
    assert "% of it is flat" in found.reason


def test_an_ordinary_photograph_gets_none(photograph: Any) -> None:
    assert suggest(photograph) is None


@pytest.mark.parametrize("as_png", [False, True])
def test_a_photograph_that_was_compressed_hard(photograph: Any, as_png: bool) -> None:
    image = Image.fromarray((photograph * 255).astype(np.uint8))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=20)
    if as_png:
        again = Image.open(stream)
        stream = io.BytesIO()
        again.save(stream, "PNG")
    picture = load(stream.getvalue())
    found = suggest(picture.pixels, picture.jpeg_quantisation)
    assert found is not None
    assert found.look == "photo"
    assert "heavily compressed" in found.reason


def test_a_noisy_photograph(photograph: Any, rng: np.random.Generator) -> None:
    noisy = np.clip(photograph + rng.normal(0, 10 / 255, photograph.shape), 0, 1).astype(np.float32)
    found = suggest(noisy)
    assert found is not None
    assert "noisy" in found.reason


def test_a_large_sharp_picture_gets_faithful(photograph: Any) -> None:
    height, width = photograph.shape[:2]
    large = np.tile(photograph, (2600 // height + 1, 2600 // width + 1, 1))
    found = suggest(large)
    assert found is not None
    assert found.look == "faithful"


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (9, 9)])
def test_tiny_pictures_are_measured_too(shape: tuple[int, int]) -> None:
    picture = Picture(np.zeros((*shape, 3), np.float32))
    assert suggest(picture.pixels) is None
    assert measure(picture.pixels).noise == 0
