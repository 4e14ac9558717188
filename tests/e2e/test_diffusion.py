"""The diffusion refiner beyond its contract: broken numbers, folders that are no models, and the hub out of reach."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import upscaler
from upscaler.arrays.types import Image
from upscaler.errors import UnsupportedModel, WeightsNotFound
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd

TILE: Image = np.random.default_rng(3).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd(tmp_path_factory.mktemp("model"))


def refine(refiner: upscaler.Refiner, tiles: list[Image]) -> list[Image]:
    boxes = [Box(64 * i, 0, 64 * i + 64, 64) for i in range(len(tiles))]
    return refiner(tiles, boxes=boxes, sampling=Sampling(steps=2), seed=0, on_step=lambda k, n: None)


def test_a_tile_that_overflows_is_redone_in_float32(folder: Path) -> None:
    exact = load_refiner(str(folder), device="cpu", precision="float32")
    reduced = load_refiner(str(folder), device="cpu", precision="bfloat16")
    unet = reduced._parts.unet  # type: ignore[attr-defined]

    def overflow(module: torch.nn.Module, inputs: object, output: object) -> None:
        if module.dtype == torch.bfloat16:
            output.sample[0, 0, 0, 0] = torch.inf  # type: ignore[attr-defined]

    hook = unet.register_forward_hook(overflow)
    tiles = refine(reduced, [TILE, TILE[::-1].copy()])
    hook.remove()
    expected = refine(exact, [TILE, TILE[::-1].copy()])
    for tile, wanted in zip(tiles, expected):  # weights that were rounded once stay rounded
        np.testing.assert_allclose(tile, wanted, atol=0.02)
    assert unet.dtype == torch.bfloat16


def test_reduced_precision_is_close(folder: Path) -> None:
    exact, reduced = (
        refine(load_refiner(str(folder), device="cpu", precision=p), [TILE])[0] for p in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - reduced).mean() < 0.02


def test_wrong_folders_get_one_line(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "pickled", "flux", "damaged"):
        path = tmp_path / name
        if name == "pickled":  # weights that could run code are not even opened
            make_sd(path)
            for file in (path / "unet").glob("*.safetensors"):
                file.rename(file.with_name("diffusion_pytorch_model.bin"))
        if name == "flux":
            path.mkdir()
            (path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
        if name == "damaged":
            make_sd(path)
            (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 100)
        with pytest.raises(UnsupportedModel) as caught:
            load_refiner(str(path))
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_a_hub_id_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsNotFound, match=r"could not be fetched from the hub.*folder in diffusers format"
    ) as caught:
        load_refiner("nobody-there/no-such-model")
    assert "\n" not in str(caught.value)


def test_a_whole_run_with_stable_diffusion(folder: Path, photograph: Image) -> None:
    small = photograph[100:196, 200:328].copy()
    options = {
        "gan": "realesr-animevideov3",
        "model": str(folder),
        "tile": 256,
        "strength": 0.2,
        "steps": 2,
        "seams": "band",
        "seam_steps": 1,
    }
    first = upscaler.upscale(small, 4, **options)
    assert first.size == (512, 384)
    assert np.isfinite(first.pixels).all()
    plain = upscaler.upscale(small, 4, gan="realesr-animevideov3", model="none")
    assert 0 < np.abs(first.pixels - plain.pixels).mean() < 0.2
