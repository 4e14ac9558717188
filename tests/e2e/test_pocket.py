"""The bundled diffusion model in the whole pipeline, on a photograph that it was never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import piq
import pytest
import torch
from PIL import Image as PillowImage

import upscaler
from upscaler.arrays.types import Image
from upscaler.geometry import Box
from upscaler.models import load_refiner, load_upscaler
from upscaler.options.settings import Sampling
from upscaler.stages.detail import filter_detail, has_nothing_to_refine, room_of

PHOTO = Path(__file__).parents[2] / "examples" / "photo.png"


@pytest.fixture(scope="module")
def original() -> PillowImage.Image:
    """Trees, a hillside and grass, 384x384."""
    return PillowImage.open(PHOTO).convert("RGB").crop((128, 128, 512, 512))


class Once:
    """A first stage that keeps its results, for the runs here differ after it."""

    def __init__(self, name: str) -> None:
        self.model = load_upscaler(name, device="cpu")
        self.scale, self.halo = self.model.scale, self.model.halo
        self.known: dict[bytes, Image] = {}

    def __call__(self, image: Image, *, on_step: object = None) -> Image:
        key = image.tobytes()
        if key not in self.known:
            self.known[key] = self.model(image)
        return self.known[key].copy()


@pytest.fixture(scope="module")
def stages() -> dict[str, object]:
    return {"upscaler": Once("realesrgan-x4plus"), "refiner": load_refiner("pocket", device="cpu")}


def enlarged(picture: PillowImage.Image, stages: dict[str, object], **options: object) -> Image:
    quarter = picture.resize([side // 4 for side in picture.size], PillowImage.Resampling.BICUBIC)
    if options.get("model") == "none":
        stages = {key: stage for key, stage in stages.items() if key != "refiner"}
    return np.asarray(upscaler.upscale(quarter, 4, **stages, **options).pixels, np.float32)


def tensor(picture: object) -> torch.Tensor:
    pixels = np.asarray(picture)
    pixels = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].clamp(0, 1)


def test_it_is_nearer_to_the_photograph_than_without(original: PillowImage.Image, stages: dict[str, object]) -> None:
    """By error and by two measures of what is seen: the reason for this model to exist."""
    with_it, without = (tensor(enlarged(original, stages, **options)) for options in ({}, {"model": "none"}))
    true = tensor(original)
    assert piq.psnr(with_it, true) > piq.psnr(without, true) + 0.05
    assert piq.haarpsi(with_it, true) > piq.haarpsi(without, true)
    assert piq.gmsd(with_it, true) < piq.gmsd(without, true)


def test_more_strength_changes_more(original: PillowImage.Image, stages: dict[str, object]) -> None:
    base = enlarged(original, stages, model="none")
    refined = [enlarged(original, stages, strength=strength) for strength in (0, 0.02, 0.1, 0.25, 0.5)]
    assert np.array_equal(refined[0], base)
    changes = [float(np.abs(picture - base).mean()) for picture in refined]
    assert 0 == changes[0] < changes[1] < changes[2] < changes[3]
    assert 0.95 * changes[3] < changes[4] < 8 / 255  # beyond full strength it is other texture rather than more change


def test_seeds_differ_in_texture_and_agree_in_structure(original: PillowImage.Image, stages: dict[str, object]) -> None:
    first, second = (enlarged(original, stages, strength=0.5, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    small = [PillowImage.fromarray((picture * 255).round().astype(np.uint8)).reduce(4) for picture in (first, second)]
    assert np.abs(np.subtract(*(np.asarray(picture, np.float32) for picture in small))).mean() < 1


def test_flat_colours_stay_flat() -> None:
    """A drawing: two flat areas and the line between them."""
    drawing = PillowImage.new("RGB", (128, 128), (250, 200, 60))
    drawing.paste((30, 60, 160), (0, 0, 128, 72))
    stages = {"upscaler": Once("realesrgan-x4plus-anime"), "refiner": load_refiner("pocket", device="cpu")}
    result = np.asarray(upscaler.upscale(drawing, 4, **stages).pixels, np.float32)
    for rows in (slice(0, 240), slice(336, 512)):
        assert result[rows].std(axis=(0, 1)).max() < 0.5 / 255


def test_what_it_adds_to_flat_tiles_is_filtered_out(stages: dict[str, object]) -> None:
    """So that tiles that are called flat can be skipped: 8-bit colours come out as they were."""
    levels = np.random.default_rng(0).integers(0, 256, (4, 3))
    tiles = [np.full((128, 128, 3), colour, np.float32) / 255 for colour in levels]
    boxes = [Box(left, 0, left + 128, 128) for left in range(0, 512, 128)]
    for strength in (0.25, 1):
        sampling = Sampling(strength=strength, steps=4)
        drawn = stages["refiner"](tiles, boxes=boxes, sampling=sampling, seed=0, on_step=lambda step, steps: None)
        for tile, image, colour in zip(tiles, drawn, levels):
            assert has_nothing_to_refine(room_of(tile))
            assert image.std() > 0
            result = filter_detail(image, tile, scale=4)
            assert np.array_equal(np.rint(result * 255), np.broadcast_to(colour, result.shape))
