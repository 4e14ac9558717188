"""Every family of models and every sampler of the real ComfyUI, through the nodes, with tiny random weights."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def report(program: Path, python: str) -> dict[str, Any]:
    script = Path(__file__).parent / "inside.py"
    done = subprocess.run([python, script], cwd=program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_result_depends_on_the_batch(report: dict[str, Any]) -> None:
    cases = {name: values for name, values in report.items() if isinstance(values, list) and len(values) == 6}
    assert {"sdxl", "controlnet", "areas and masks", "mask and fixed padding", "flux", "sd3"} <= cases.keys()
    assert len([name for name in cases if name.startswith("sampler ")]) > 20
    for name, (*shape, difference, change) in cases.items():
        assert shape == [1, 128, 160, 3], name
        assert difference < 1e-4, name
        assert change > 0.01, name


def test_each_family_gets_its_tile_and_its_control(report: dict[str, Any]) -> None:
    assert report["native tiles"] == [1024, 1024, 1024]
    assert report["controlnet changes"] > 1e-4


def test_the_order_in_memory_is_the_faster_one_and_changes_nothing(report: dict[str, Any]) -> None:
    """Channels last on a CPU, for what is decoded and what is enlarged; the host's network keeps its own."""
    assert report["decode"]["last"]
    assert report["decode"]["difference"] < 1e-4
    assert report["enlarge"]["last"]
    assert report["enlarge"]["kept"]
    assert report["enlarge"]["difference"] < 1e-4
