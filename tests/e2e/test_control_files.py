"""ControlNets in single files: the same picture as the folders they were made from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import upscaler
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UnsupportedModel
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_family
from single_files import control_state, single_file

TILE: Image = np.random.default_rng(9).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("sd1"), "sd1")


@pytest.fixture(scope="module")
def control(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_control(tmp_path_factory.mktemp("controls") / "tile", model)


def refine(model: Path, control: Path) -> bytes:
    refiner: upscaler.Refiner = load_refiner(str(model), control=str(control), device="cpu", precision="float32")
    sampling = Sampling(steps=2, strength=0.5, prompt="a cat", guidance=3)
    return refiner([TILE], boxes=[Box(0, 0, 64, 64)], sampling=sampling, seed=0, on_step=lambda k, n: None)[0].tobytes()


@pytest.mark.parametrize("form", ["original", "diffusers", "pickle"])
def test_a_file_draws_what_its_folder_draws(form: str, model: Path, control: Path, tmp_path: Path) -> None:
    (stored,) = control.glob("*.safetensors")
    file = tmp_path / ("tile.pth" if form == "pickle" else "tile.safetensors")
    if form == "pickle":
        torch.save(control_state(control), file)
    else:
        save_file(control_state(control) if form == "original" else load_file(stored), file)
    assert refine(model, file) == refine(model, control)


def test_files_that_do_not_fit_get_one_line(model: Path, control: Path, tmp_path: Path) -> None:
    file = tmp_path / "tile.safetensors"
    state = control_state(control)
    save_file({name: value for name, value in state.items() if "middle_block" not in name}, file)
    with pytest.raises(UnsupportedModel, match="weights are missing"):
        refine(model, file)
    wide = "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({**state, wide: torch.zeros(8, 2048)}, file)
    with pytest.raises(SettingsError, match=r"diffusion\.control: .* 2048 \(SDXL\), the diffusion model has 32"):
        refine(model, file)
    save_file({**state, "control_model.input_blocks.0.0.weight": torch.zeros(1)}, file)
    with pytest.raises(UnsupportedModel, match="cannot be loaded as a ControlNet"):
        refine(model, file)
    with pytest.raises(UnsupportedModel, match=r"is not a ControlNet; it is a SD 1\.x checkpoint"):
        refine(model, single_file(model, tmp_path / "model.safetensors", "sd1"))
