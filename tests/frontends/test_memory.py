"""What `upscaler plan` says of memory, against the peak of a run's process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import upscaler
from benchmarks.memory import peak
from upscaler.geometry import Size
from upscaler.options.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")


@pytest.mark.parametrize(
    ("gan", "model"),
    [("none", "none"), pytest.param("realesr-animevideov3", "pocket", marks=pytest.mark.slow)],
)
def test_the_plan_tells_the_peak_of_memory(tmp_path: Path, rng: np.random.Generator, gan: str, model: str) -> None:
    source = tmp_path / "source.png"
    Pillow.fromarray(rng.integers(0, 256, (256, 384, 3), np.uint8)).save(source)
    predicted = upscaler.plan(source, Settings.of(gan=gan, model=model, scale=4)).memory_bytes
    assert predicted is not None
    measured = peak(source, tmp_path / "result.png", ["--gan", gan, "--model", model, "--scale", "4"])
    assert predicted == pytest.approx(measured, rel=0.15)


def test_what_a_model_does_not_say_is_not_made_up() -> None:
    plan = upscaler.plan(Size(64, 64), Settings.of(model="some/model"))
    assert plan.memory_bytes is None
    assert plan.picture_bytes > 0
