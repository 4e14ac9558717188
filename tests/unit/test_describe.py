"""Plans and models in words and as plain values."""

from __future__ import annotations

import upscaler
from upscaler import weights
from upscaler.describe import model_values, plan_phrases, plan_values
from upscaler.geometry import Size
from upscaler.options.settings import Settings


def test_a_plan_tells_what_runs_and_nothing_of_what_does_not() -> None:
    settings = Settings.of(scale=4)
    plan = upscaler.plan(Size(512, 512), settings)
    phrases = plan_phrases(plan, settings, 83)
    assert list(phrases) == ["size", "enlarge", "refine", "seams", "in all", "memory", "time"]
    assert phrases["size"] == "512x512 -> 2048x2048 (4.2 MP)"
    assert phrases["enlarge"] == f"{plan.gan_tiles} tile{'s' if plan.gan_tiles > 1 else ''} by realesrgan-x4plus"
    assert plan.tiles is not None
    assert f"({len(plan.tiles.columns)}x{len(plan.tiles.rows)}) of {plan.tile} by pocket" in phrases["refine"]
    assert phrases["in all"].startswith(f"up to {plan.evaluations} steps")
    assert phrases["time"] == "about 1 min 25 s"

    alone = Settings.of(scale=4, model="none", gan="none")
    phrases = plan_phrases(upscaler.plan(Size(512, 512), alone), alone, 2)
    assert list(phrases) == ["size", "enlarge", "memory", "time"]
    assert phrases["enlarge"] == "resampled"
    assert phrases["time"] == "about 2 s"


def test_plans_and_models_as_plain_values() -> None:
    plan = upscaler.plan(Size(512, 384), scale=2)
    values = plan_values(plan, 7.5)
    assert values["source"] == [512, 384]
    assert values["target"] == [1024, 768]
    assert plan.tiles is not None
    assert values["grid"] == [len(plan.tiles.columns), len(plan.tiles.rows)]
    assert values["seconds"] == 7.5
    (pocket,) = [values for model in weights.bundled() if (values := model_values(model))["name"] == "pocket"]
    assert pocket["kind"] == "diffusion"
    assert pocket["bytes"] > 1e6
