"""The schedules of noise, and DDIM over them, are those of diffusers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from upscaler.models.diffusion.sampling import Sampler  # noqa: E402
from upscaler.models.diffusion.schedule import alphas_of  # noqa: E402

CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_train_timesteps": 300, "beta_start": 1e-7, "beta_end": 3.2e-4},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_schedule_is_that_of_diffusers(config: dict[str, Any]) -> None:
    theirs = diffusers.DDIMScheduler.from_config(config).alphas_cumprod
    torch.testing.assert_close(alphas_of(config), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "config", [{"beta_schedule": "none"}, {"beta_start": "low"}, {"trained_betas": "abc"}], ids=str
)
def test_what_is_no_schedule_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises((NotImplementedError, TypeError, ValueError, RuntimeError)):
        alphas_of(config)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_takes_the_steps_of_diffusers(prediction: str) -> None:
    config = {**CONFIGS[2], "prediction_type": prediction}
    sampler = Sampler("ddim", config, strength=1.0, steps=4, device=torch.device("cpu"))
    theirs = diffusers.DDIMScheduler.from_config({**config, "clip_sample": False, "timestep_spacing": "trailing"})
    theirs.set_timesteps(4)
    assert theirs.timesteps.tolist() == sampler.timesteps.tolist()
    clean, noise = torch.rand(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    sample = sampler.start(clean, noise)
    torch.testing.assert_close(sample, theirs.add_noise(clean, noise, sampler.timesteps[:1]))
    expected = sample
    for timestep in sampler.timesteps:
        output = torch.randn(2, 4, 5, 5)
        sample = sampler.step(output, timestep, sample, None)
        expected = theirs.step(output, int(timestep), expected).prev_sample
    torch.testing.assert_close(sample, expected, atol=1e-4, rtol=1e-4)


def test_the_bundled_model_is_loaded_and_run_without_diffusers() -> None:
    program = """
import sys, numpy as np
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling
refiner = load_refiner("pocket", device="cpu", precision="float32")
tile = np.zeros((64, 64, 3), np.float32)
refiner([tile], boxes=[Box(0, 0, 64, 64)], sampling=Sampling(steps=2), seed=0, on_step=lambda step, of: None)
print([name for name in ("diffusers", "transformers", "torch._dynamo") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
