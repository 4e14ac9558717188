"""Few-step models: as many evaluations run as the plan says, and never a single one, however weak the strength."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import upscaler
from upscaler.geometry import Size
from upscaler.models import load_refiner

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd, make_sdxl

OPTIONS: dict[str, Any] = {"gan": "none", "scale": 1, "seams": "none", "consistency": 0.0}


@pytest.mark.parametrize(
    ("name", "scheduler", "at_one"),
    [
        ("tiny-lcm", "lcm", 4),
        ("tiny_lightning_4step", "euler", 4),
        ("tiny-turbo", "euler_a", 4),
        ("Tiny-Hyper-SD", "ddim", 8),
        ("tiny-dmd2", "lcm", 4),
    ],
)
def test_the_plan_says_how_many_evaluations_run(name: str, scheduler: str, at_one: int, tmp_path: Path) -> None:
    folder = (make_sdxl if "lightning" in name else make_sd)(tmp_path / name)
    refiner: Any = load_refiner(str(folder), device="cpu", precision="float32")
    calls: list[int] = []
    refiner._parts.unet.register_forward_hook(lambda *_: calls.append(1))
    image = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    for strength in (0.05, 0.25, 0.5, 1.0):
        options = {**OPTIONS, "strength": strength, "model": str(folder)}
        planned = upscaler.plan(Size(64, 64), **options)
        calls.clear()
        upscaler.upscale(image, refiner=refiner, **options)
        assert len(calls) == planned.evaluations == max(2, round(at_one * strength))
        assert (planned.sampling.scheduler, planned.sampling.guidance) == (scheduler, 1.0)
