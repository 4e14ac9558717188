"""How many evaluations a model gets, by which sampler, where the settings leave it open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import upscaler
from upscaler import weights
from upscaler.geometry import Size
from upscaler.models.base import USUAL, Habits
from upscaler.models.diffusion.habits import FAMILIES, ONE_STEP, PLAIN, habits_at
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
    habits = habits_at(tmp_path / name, lora)
    assert (habits.steps, habits.scheduler) == (steps, scheduler)
    assert habits.guidance == (PLAIN.guidance if habits is PLAIN else 1)


def test_by_folder(tmp_path: Path) -> None:
    assert habits_at(weights.find("pocket", "diffusion")) == Habits(joint=True)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert habits_at(tmp_path) == PLAIN
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "LCMScheduler"}))
    assert habits_at(tmp_path).scheduler == "lcm"
    for damaged in ("[", "[]", '{"_class_name": 3}'):
        index.write_text(damaged)
        habits_at(tmp_path)


def test_by_family(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    habits = habits_at(tmp_path)
    assert habits is FAMILIES["FluxPipeline"].habits
    settled = habits.settle(Sampling(strength=0.25))
    assert (settled.steps, settled.scheduler, settled.guidance) == (8, "euler", 3.5)
    assert habits.evaluations(settled) == 8, "guidance costs nothing there"


def test_models_of_one_step_have_one_whatever_the_strength() -> None:
    for habits in ONE_STEP.values():
        settled = habits.settle(Sampling(strength=1.0))
        assert (settled.steps, settled.guidance, habits.evaluations(settled)) == (1, 1.0, 1)


@pytest.mark.parametrize("strength", [0.05, 0.2, 0.25, 0.5, 1.0])
def test_few_step_models_are_evaluated_twice_at_least(strength: float) -> None:
    for steps in (2, 4, 8):
        settled = Habits(steps=steps, least=2, scheduler="lcm").settle(Sampling(strength=strength))
        assert max(2, steps * strength - 1) <= settled.steps <= max(2, steps * strength + 1)


def test_what_is_said_stays() -> None:
    said = Sampling(strength=0.5, steps=3, guidance=2.0, scheduler="unipc")
    assert PLAIN.settle(said) == said
    assert PLAIN.settle(Sampling(strength=0.25)) == Sampling(strength=0.25, steps=8, guidance=5.0, scheduler="dpmpp_2m")
    assert USUAL.settle(Sampling(strength=0.9)).steps == 1


def test_a_plan_tells_the_evaluations(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    options = {"gan": "none", "seams": "none", "scale": 1, "tile": 512}
    plan = upscaler.plan(Size(512, 512), model=str(tmp_path), **options)
    assert (plan.sampling.steps, plan.evaluations) == (8, 16), "guidance takes two for each step"
    plan = upscaler.plan(Size(512, 512), model=str(tmp_path), lora="lcm-lora-sd15", **options)
    assert (plan.sampling.steps, plan.sampling.scheduler, plan.evaluations) == (2, "lcm", 2)
    assert upscaler.plan(Size(512, 512), model="pocket", **options).evaluations == 1
