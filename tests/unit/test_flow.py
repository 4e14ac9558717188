"""Stable Diffusion 3 and Flux against diffusers' own img2img pipelines, on one tile and the same noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline, StableDiffusion3Img2ImgPipeline

import upscaler
from upscaler.errors import SettingsError, UnsupportedModel
from upscaler.geometry import Box, Size
from upscaler.models import describe_refiner, load_refiner
from upscaler.models.diffusion.flow import FlowSampler
from upscaler.options.settings import Sampling, options
from upscaler.tiling.noise import field

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_flux, make_sd3

TILE = np.random.default_rng(5).random((64, 96, 3), np.float32)
BOX = Box(64, 32, 160, 96)
CELLS = Box(8, 4, 20, 12)
STEPS = 10
SCHEDULERS = next(option.choices for option in options() if option.name == "scheduler")


def draw(folder: Path, **sampling: Any) -> Any:
    refiner = load_refiner(str(folder), device="cpu", precision="float32")
    values = {"scheduler": "euler", "strength": 0.4, "steps": 4, "prompt": "a red barn", **sampling}
    return refiner([TILE], boxes=[BOX], sampling=Sampling(**values), seed=3, on_step=lambda k, n: None)[0]


def theirs(pipeline: Any, monkeypatch: pytest.MonkeyPatch, **call: Any) -> Any:
    """The pipeline's picture from our noise, over the tail of a schedule of ten steps that ends at 1 / 10."""
    module = sys.modules[type(pipeline).__module__]
    noise = torch.from_numpy(field(3, 0, CELLS, 4))[None]
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: noise)
    monkeypatch.setattr(module, "retrieve_latents", lambda coded, **_: coded.latent_dist.mode())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt="a red barn",
        image=torch.from_numpy(TILE).permute(2, 0, 1)[None],
        height=64,
        width=96,
        strength=0.4,
        num_inference_steps=STEPS,
        sigmas=np.linspace(1, 1 / STEPS, STEPS),
        output_type="np",
        **call,
    ).images[0]


@pytest.mark.parametrize(("t5", "guidance"), [(True, 1.0), (True, 4.0), (False, 4.0)])
def test_stable_diffusion_3_is_that_of_diffusers(
    t5: bool, guidance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sd3(tmp_path / "sd3", t5=t5)
    without = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3Img2ImgPipeline.from_pretrained(folder, **without)
    expected = theirs(pipeline, monkeypatch, negative_prompt="blur", guidance_scale=guidance)
    ours = draw(folder, guidance=guidance, negative_prompt="blur")
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert np.abs(ours - draw(folder, guidance=guidance, prompt="a boat", negative_prompt="blur")).max() > 1e-3


@pytest.mark.parametrize("guidance", [True, False], ids=["dev", "schnell"])
def test_flux_is_that_of_diffusers(guidance: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_flux(tmp_path / "flux", guidance=guidance)
    pipeline = FluxImg2ImgPipeline.from_pretrained(folder)
    tokens = 512 if guidance else 256
    expected = theirs(pipeline, monkeypatch, guidance_scale=3.5, max_sequence_length=tokens)
    ours = draw(folder, guidance=3.5)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert (np.abs(ours - draw(folder, guidance=9.0)).max() > 1e-3) == guidance


@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if name != "euler_a"])
def test_every_scheduler_finds_the_picture_that_the_velocity_points_away_from(scheduler: str) -> None:
    """With the exact velocity of one picture, any of them ends at that picture, from any strength."""
    picture = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for strength in (0.3, 1.0):
        sampler = FlowSampler(
            scheduler, {"shift": 3.0}, strength=strength, steps=6, tokens=16, device=torch.device("cpu")
        )
        assert len(sampler.timesteps) == 6
        sample = sampler.start(picture, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)))
        for index, timestep in enumerate(sampler.timesteps):
            velocity = (sample - picture) / (timestep / 1000)
            noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3 + index))
            sample = sampler.step(velocity, timestep, sample, noise if sampler.stochastic else None)
        torch.testing.assert_close(sample, picture, atol=2e-4, rtol=0)


def test_the_plan_knows_the_family(tmp_path: Path) -> None:
    folder = make_flux(tmp_path / "flux")
    assert describe_refiner(str(folder)).multiple == 16
    plan = upscaler.plan(Size(100, 100), scale=2, model=str(folder), tile="96", overlap=32, feather=16)
    assert plan.sampling.steps == 8
    assert plan.tiles is not None
    assert plan.evaluations == 8 * (len(plan.tiles) + plan.seam_tiles)
    assert all(side % 16 == 0 for side in plan.tiles.tile)
    guided = upscaler.plan(Size(100, 100), scale=2, model=str(make_sd3(tmp_path / "sd3")), seams="none")
    assert guided.evaluations == 16 * len(guided.tiles or ())


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    folder = make_flux(tmp_path / "flux", guidance=False)
    small = np.random.default_rng(1).random((40, 50, 3)).astype(np.float32)
    result = upscaler.upscale(
        small, 3, model=str(folder), gan="none", steps=1, tile="96", overlap=32, feather=16, device="cpu"
    )
    assert result.size == (150, 120)


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    folder = make_sd3(tmp_path / "sd3", t5=False)
    with pytest.raises(SettingsError, match=r"diffusion\.scheduler: euler_a"):
        draw(folder, scheduler="euler_a")
    for extra in ({"control": "tile"}, {"vae": "x"}, {"lora": "x"}, {"embedding": "x"}, {"clip_skip": 2}):
        (name,) = extra
        with pytest.raises(SettingsError, match=rf"diffusion\.{name}: sd3 takes no"):
            load_refiner(str(folder), **extra)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(UnsupportedModel) as error:
        draw(folder)
    assert "\n" not in str(error.value)
