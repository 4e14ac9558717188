"""The networks that need no spandrel are those of spandrel, whatever their parameters are called; on random weights."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spandrel")

from upscaler.models.gan.architectures import ESRGAN, KnownNetwork, known_network  # noqa: E402

SMALL = {"num_filters": 8, "num_blocks": 2}


def theirs(architecture: str, **options: Any) -> Any:
    """A network of spandrel's."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = getattr(importlib.import_module(f"spandrel.architectures.{architecture}"), architecture)
    return kind(**options).eval().requires_grad_(False)


def newer(state: dict[str, Any], blocks: int) -> dict[str, Any]:
    """ESRGAN's parameters under the names that Real-ESRGAN has for them, with two doublings."""
    places = {"0": "conv_first", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr", "10": "conv_last"}
    names = {f"model.{number}": name for number, name in places.items()} | {f"model.1.sub.{blocks}": "conv_body"}
    renamed: dict[str, Any] = {}
    for name, value in state.items():
        place, _, kind = name.rpartition(".")
        found = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", place)
        place = f"body.{found[1]}.rdb{found[2]}.conv{found[3]}" if found else names[place]
        renamed[f"{place}.{kind}"] = value
    return renamed


@pytest.mark.parametrize(
    ("architecture", "options", "channels", "scale"),
    [
        ("ESRGAN", {**SMALL, "scale": 4}, 3, 4),
        ("ESRGAN", {**SMALL, "scale": 1}, 3, 1),
        ("ESRGAN", {**SMALL, "scale": 8}, 3, 8),
        ("ESRGAN", {**SMALL, "scale": 2, "in_nc": 1, "out_nc": 1}, 1, 2),
        ("ESRGAN", {**SMALL, "scale": 4, "in_nc": 12, "shuffle_factor": 2}, 3, 2),
        ("ESRGAN", {**SMALL, "scale": 4, "in_nc": 48, "shuffle_factor": 4}, 3, 1),
        ("Compact", {"num_feat": 8, "num_conv": 3, "upscale": 4}, 3, 4),
        ("Compact", {"num_feat": 8, "num_conv": 2, "upscale": 1}, 3, 1),
    ],
    ids=str,
)
def test_it_is_the_same_network(architecture: str, options: dict[str, Any], channels: int, scale: int) -> None:
    network = theirs(architecture, **options)
    known = known_network({name: weight.half().float() for name, weight in network.state_dict().items()})
    assert known is not None
    assert (known.architecture.id, known.input_channels, known.scale) == (architecture, channels, scale)
    network.load_state_dict({name: weight.half().float() for name, weight in network.state_dict().items()})
    picture = torch.rand(2, channels, 17, 22)
    with torch.no_grad():
        torch.testing.assert_close(known(picture), network(picture).clamp(0, 1), atol=1e-6, rtol=0)


def test_names_of_other_files_are_understood() -> None:
    state = theirs("ESRGAN", **SMALL).state_dict()
    real = newer(state, 2)
    bsrgan = {
        re.sub(r"^body\.(\d)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", name)
        .replace("conv_body", "trunk_conv")
        .replace("conv_up", "upconv")
        .replace("conv_hr", "HRconv"): weight
        for name, weight in real.items()
    }
    networks = [known_network(each) for each in (state, real, bsrgan)]
    picture = torch.rand(1, 3, 8, 8)
    results = [network(picture) for network in networks if network is not None]
    assert len(results) == 3
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("options", [{"plus": True}, {"norm": "batch"}], ids=str)
def test_what_is_a_little_different_is_left_to_spandrel(options: dict[str, Any]) -> None:
    assert known_network(theirs("ESRGAN", **SMALL, **options).state_dict()) is None


@pytest.mark.parametrize(
    "state", [{}, {"body.0.weight": 3}, {"epoch": 3}, {"conv_first.weight": torch.zeros(3)}], ids=str
)
def test_what_is_no_network_is_none(state: dict[str, Any]) -> None:
    assert known_network(state) is None


def test_halves_become_whole() -> None:
    state = {name: weight.half() for name, weight in ESRGAN(3, 8, 8, 1, 2).state_dict().items()}
    known = known_network(state)
    assert isinstance(known, KnownNetwork)
    assert {weight.dtype for weight in known.model.parameters()} == {torch.float32}


def test_a_bundled_network_is_loaded_without_spandrel() -> None:
    program = (
        "import sys; from pathlib import Path; from upscaler.models.gan.read import read_network; "
        "read_network(Path('weights/realesrgan-x4plus.safetensors')); "
        "print([name for name in ('spandrel', 'torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
