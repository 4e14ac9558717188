"""How many evaluations a model gets, by which sampler, where the settings leave it open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import upscaler
from upscaler import weights
from upscaler.geometry import Size
from upscaler.models.base import Recipe
from upscaler.models.recipes import PLAIN, POCKET, recipe_of
from upscaler.options.settings import Sampling


@pytest.mark.parametrize(
    ("name", "lora", "steps", "scheduler"),
    [
        ("photo.safetensors", "", PLAIN.steps, PLAIN.scheduler),
        ("hyperrealistic_v3.safetensors", "", PLAIN.steps, PLAIN.scheduler),
        ("DreamShaperXL_Turbo_v2.safetensors", "", 4, "euler_a"),
        ("juggernautXL_lightning.safetensors", "", 4, "euler"),
        ("sdxl_lightning_8step.safetensors", "", 8, "euler"),
        ("photo.safetensors", "lcm-lora-sdv1-5:0.8", 4, "lcm"),
        ("photo.safetensors", "style;/x/Hyper-SDXL-8steps-lora.safetensors:0.9", 8, "ddim"),
        ("photo.safetensors", "Hyper-SD15-1step-lora", 2, "ddim"),
        ("photo.safetensors", "style", PLAIN.steps, PLAIN.scheduler),
    ],
)
def test_by_name(name: str, lora: str, steps: int, scheduler: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    recipe = recipe_of(tmp_path / name, lora)
    assert (recipe.steps, recipe.scheduler) == (steps, scheduler)
    assert recipe.guidance == (PLAIN.guidance if recipe is PLAIN else 1)


def test_by_folder(tmp_path: Path) -> None:
    assert recipe_of(weights.find("pocket", "diffusion")) == POCKET
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert recipe_of(tmp_path) == PLAIN
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "LCMScheduler"}))
    assert recipe_of(tmp_path).scheduler == "lcm"
    for damaged in ("[", "[]", '{"_class_name": 3}'):
        index.write_text(damaged)
        recipe_of(tmp_path)


@pytest.mark.parametrize("strength", [0.05, 0.2, 0.25, 0.5, 1.0])
def test_few_step_models_are_evaluated_twice_at_least(strength: float) -> None:
    for steps in (2, 4, 8):
        settled = Recipe(steps, 2, "lcm").settle(Sampling(strength=strength))
        assert max(2, steps * strength - 1) <= settled.steps <= max(2, steps * strength + 1)


def test_what_is_said_stays() -> None:
    said = Sampling(strength=0.5, steps=3, guidance=2.0, scheduler="unipc")
    assert PLAIN.settle(said) == said
    assert PLAIN.settle(Sampling(strength=0.25)) == Sampling(strength=0.25, steps=8, guidance=5.0, scheduler="dpmpp_2m")
    assert POCKET.settle(Sampling(strength=0.9)).steps == 1


def test_a_plan_tells_the_evaluations(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    options = {"gan": "none", "seams": "none", "scale": 1, "tile": 512}
    plan = upscaler.plan(Size(512, 512), model=str(tmp_path), **options)
    assert (plan.sampling.steps, plan.evaluations) == (8, 16), "guidance takes two for each step"
    plan = upscaler.plan(Size(512, 512), model=str(tmp_path), lora="lcm-lora-sd15", **options)
    assert (plan.sampling.steps, plan.sampling.scheduler, plan.evaluations) == (2, "lcm", 2)
    assert upscaler.plan(Size(512, 512), model="pocket", **options).evaluations == 1
