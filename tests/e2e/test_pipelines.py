"""Our loop beside diffusers' own img2img pipelines: one tile, the same noise, the same picture, for every scheduler."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.controlnet import (
    pipeline_controlnet_img2img,
    pipeline_controlnet_sd_xl_img2img,
    pipeline_controlnet_union_sd_xl_img2img,
)
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_img2img
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl_img2img
from diffusers.schedulers import (
    scheduling_dpmsolver_multistep,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
)

from upscaler.arrays.types import Image
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling, options
from upscaler.tiling.noise import field

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd, make_sdxl, make_union

SIDE, BOX, SEED = 64, Box(128, 64, 192, 128), 11
TILE: Image = np.random.default_rng(8).random((SIDE, SIDE, 3), np.float32)
PROMPT, NEGATIVE, GUIDANCE, SCALE = "a cat", "rain", 4.0, 0.7
STRENGTH, STEPS = 0.5, 10
TILES = 6  # as the model card of ControlNet++ counts its kinds of hints
TIMESTEPS = [499 - 50 * index for index in range(STEPS)]
SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "ddim": (diffusers.DDIMScheduler, {"set_alpha_to_one": True}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {}),
}
PIPELINES = {
    "sd1": diffusers.StableDiffusionImg2ImgPipeline,
    "sd2": diffusers.StableDiffusionImg2ImgPipeline,
    "sdxl": diffusers.StableDiffusionXLImg2ImgPipeline,
    "sd1+control": diffusers.StableDiffusionControlNetImg2ImgPipeline,
    "sdxl+control": diffusers.StableDiffusionXLControlNetImg2ImgPipeline,
    "sdxl+union": diffusers.StableDiffusionXLControlNetUnionImg2ImgPipeline,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    models = {
        "sd1": make_sd(folder / "sd1"),
        "sd2": make_sd(folder / "sd2", prediction="v_prediction"),
        "sdxl": make_sdxl(folder / "sdxl"),
    }
    models |= {f"{name}+control": make_control(folder / f"{name}-tile", models[name]) for name in ("sd1", "sdxl")}
    return models | {"sdxl+union": make_union(folder / "sdxl-union", models["sdxl"])}


def canvas_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers draw what lies at the tile's place on the canvas: one field after the other."""
    drawn = iter(range(100))

    def noise(shape: Any, **_: Any) -> torch.Tensor:
        cells = Box(*(side // 8 for side in BOX))
        made = torch.from_numpy(field(SEED, next(drawn), cells, shape[1]))[None]
        assert made.shape == tuple(shape)
        return made

    for module in (
        pipeline_stable_diffusion_img2img,
        pipeline_stable_diffusion_xl_img2img,
        pipeline_controlnet_img2img,
        pipeline_controlnet_sd_xl_img2img,
        pipeline_controlnet_union_sd_xl_img2img,
        scheduling_euler_ancestral_discrete,
        scheduling_dpmsolver_multistep,
        scheduling_lcm,
    ):
        monkeypatch.setattr(module, "randn_tensor", lambda shape, *_, **__: noise(shape))


def test_every_scheduler_is_compared() -> None:
    offered = next(option.choices for option in options() if option.name == "scheduler")
    assert {"auto", *SCHEDULERS} == set(offered)


@cache
def both(model: Path, control: Path | None, kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """Our refiner, diffusers' pipeline, and the config of the model's scheduler; loaded once."""
    ours = load_refiner(
        str(model), control="none" if control is None else str(control), device="cpu", precision="float32"
    )
    extra = {}
    if control is not None:
        network = diffusers.ControlNetUnionModel if kind.endswith("union") else diffusers.ControlNetModel
        extra["controlnet"] = network.from_pretrained(control, local_files_only=True)
    pipeline = PIPELINES[kind].from_pretrained(model, local_files_only=True, **extra)
    pipeline.set_progress_bar_config(disable=True)
    return ours, pipeline, pipeline.scheduler.config


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_same_picture(kind: str, name: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    family, _, control = kind.partition("+")
    ours, pipeline, config = both(models[family], models[kind] if control else None, kind)
    sampling = Sampling(
        prompt=PROMPT, negative_prompt=NEGATIVE, strength=STRENGTH, steps=STEPS, guidance=GUIDANCE, scheduler=name,  # type: ignore[arg-type]
        control_scale=SCALE,
    )  # fmt: skip
    (found,) = ours([TILE], boxes=[BOX], sampling=sampling, seed=SEED, on_step=lambda k, n: None)

    scheduler, changes = SCHEDULERS[name]
    spacing = {} if name == "lcm" else {"timestep_spacing": "trailing"}
    pipeline.scheduler = scheduler.from_config(config, **spacing, **changes)
    picture = torch.from_numpy(TILE).permute(2, 0, 1)[None]
    with torch.no_grad():
        latents = pipeline.vae.encode(picture * 2 - 1).latent_dist.mode() * pipeline.vae.config.scaling_factor
    said: dict[str, Any] = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": GUIDANCE, "image": latents}
    if control:
        said |= {"control_image": picture, "controlnet_conditioning_scale": SCALE}
    if control == "union":
        said["control_mode"] = [TILES]
    if name == "lcm" and control:  # these pipelines take no list of timesteps
        plain = pipeline.scheduler.set_timesteps
        monkeypatch.setattr(
            pipeline.scheduler,
            "set_timesteps",
            lambda steps=None, device=None, **_: plain(timesteps=TIMESTEPS, device=device),
        )
        said |= {"num_inference_steps": STEPS, "strength": 1.0}
    elif name == "lcm":  # its own list of timesteps is another one
        said |= {"timesteps": TIMESTEPS, "strength": 1.0}
    else:
        said |= {"num_inference_steps": int(STEPS / STRENGTH), "strength": STRENGTH}
    canvas_noise(monkeypatch)
    expected = pipeline(**said, output_type="pt", return_dict=False)[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert np.abs(expected - TILE).max() > 0.05
