"""The recipes of docs/own-models.md, run as they are written, over small models of random weights under the names there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

import upscaler
from upscaler import weights
from upscaler.cli import main
from upscaler.models import manifest
from upscaler.pictures.files import load, read_settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_family, make_one_step
from single_files import single_file

PAGE = Path(__file__).parents[2] / "docs" / "own-models.md"
RECIPES = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)
LORA = "sdxl-lightning-4step-lora"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A narrow model of each family in diffusers format."""
    return {name: make_family(tmp_path_factory.mktemp(name), name) for name in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def desk(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands, with a photograph, and with all models fetched already."""
    monkeypatch.setattr(weights, "family_folder", folders.__getitem__)
    monkeypatch.setattr(weights.folders, "data_folder", lambda: tmp_path / "data")
    monkeypatch.delenv("UPSCALER_MODELS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    mine = tmp_path / "data" / "models"
    mine.mkdir(parents=True)
    for name, family in (("dreamshaper-8", "sd1"), ("sdxl", "sdxl"), ("sd-2-1-base", "sd2")):
        single_file(folders[family], manifest.entry(name).target(mine), family)
    (mine / "sd-2-1-base.yaml").write_text("")  # random weights do not tell that they predict noise
    make_control(manifest.entry("control-tile-sd15").target(mine), folders["sd1"])
    lora(folders["sdxl"], manifest.entry(LORA).target(mine))
    desk = tmp_path / "desk"
    desk.mkdir()
    make_one_step(desk / "pisa_sr.pkl", "pisa-sr", folders["sd2"])
    picture = np.random.default_rng(1).random((40, 48, 3)).astype(np.float32)
    upscaler.save(upscaler.Picture(picture), desk / "photo.jpg")
    monkeypatch.chdir(desk)
    return desk


def lora(model: Path, file: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    state: dict[str, torch.Tensor] = {}
    for name, layer in unet.named_modules():
        if isinstance(layer, torch.nn.Linear) and name.endswith(("to_q", "to_v")):
            place = f"lora_unet_{name.replace('.', '_')}"
            state[f"{place}.lora_down.weight"] = torch.randn(2, layer.in_features)
            state[f"{place}.lora_up.weight"] = torch.randn(layer.out_features, 2)
            state[f"{place}.alpha"] = torch.tensor(1.0)
    save_file(state, file)


def test_there_are_three_recipes() -> None:
    assert ["--control" in text or "--lora" in text or "convert" in text for text in RECIPES] == [True] * 3


@pytest.mark.parametrize("recipe", RECIPES, ids=["tile ControlNet", "few steps", "PiSA-SR"])
def test_a_recipe_works_as_it_is_written(recipe: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(command) for line in recipe.splitlines() for command in line.split("&&")]
    for name, *arguments in commands:
        assert name == "upscaler"
        assert main(arguments) == 0, capsys.readouterr().err
    run = capsys.readouterr()
    written = Path(run.out.split()[-1])
    assert written.parent in (desk, Path())
    stored = read_settings(written)
    assert stored is not None
    assert stored["diffusion"]["model"] == commands[-1][commands[-1].index("-m") + 1]
    large = load(written)
    assert large.size == (192, 160)
    assert main(["run", "photo.jpg", "-o", "plain.png", "-n", stored["gan"]["model"], "-m", "none"]) == 0
    assert np.abs(large.pixels - load("plain.png").pixels).max() > 1e-3, "the model drew"


def test_few_steps_are_two_evaluations_of_each_tile(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = (shlex.split(line) for recipe in RECIPES for line in recipe.splitlines() if "--lora" in line)
    assert main(["plan", *command[2:], "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["grid"] == [1, 1]
    assert planned["evaluations"] == 2
