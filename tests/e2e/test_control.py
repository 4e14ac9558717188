"""ControlNets from folders, names and the hub: what loads, what is refused, and what is said."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import upscaler
from upscaler import weights
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UnsupportedModel, WeightsError, WeightsNotFound
from upscaler.geometry import Box, Size
from upscaler.loading import refiner_for
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling, Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd, make_sdxl

TILE: Image = np.random.default_rng(4).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def control(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_control(tmp_path_factory.mktemp("controls") / "tile", model)


def refine(refiner: upscaler.Refiner, **sampling: float) -> Image:
    return refiner([TILE], boxes=[Box(0, 0, 64, 64)], sampling=Sampling(**sampling), seed=0, on_step=lambda k, n: None)[
        0
    ]  # type: ignore[arg-type]


def test_the_users_controlnets_are_found_by_name(
    model: Path, control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSCALER_MODELS", str(control.parent))
    assert [found.name for found in weights.models("control")] == ["tile"]
    settings = Settings.of(model=str(model), control="tile", device="cpu", precision="float32")
    refiner = refiner_for(settings)
    assert refiner is not None
    plain = load_refiner(str(model), device="cpu", precision="float32")
    assert np.abs(refine(refiner) - refine(plain)).max() > 1e-3
    with pytest.raises(WeightsNotFound, match="did you mean tile"):
        load_refiner(str(model), control="tyle")


def test_a_whole_run_with_a_controlnet(model: Path, control: Path, photograph: Image) -> None:
    small = photograph[100:196, 200:296].copy()
    options = {"gan": "none", "model": str(model), "tile": 256, "steps": 1, "seams": "none", "device": "cpu"}
    with_it = upscaler.upscale(small, 4, control=str(control), **options)
    without = upscaler.upscale(small, 4, **options)
    assert with_it.size == (384, 384)
    assert np.isfinite(with_it.pixels).all()
    assert np.abs(with_it.pixels - without.pixels).max() > 1e-3
    off = upscaler.upscale(small, 4, control=str(control), control_scale=0, **options)
    assert off.pixels.tobytes() == without.pixels.tobytes()


def test_what_overflows_is_redone_in_float32_by_both_networks(model: Path, control: Path) -> None:
    exact = load_refiner(str(model), control=str(control), device="cpu", precision="float32")
    reduced = load_refiner(str(model), control=str(control), device="cpu", precision="bfloat16")
    parts = reduced._parts  # type: ignore[attr-defined]

    def overflow(module: torch.nn.Module, inputs: object, output: object) -> None:
        if module.dtype == torch.bfloat16:
            output[1][0, 0, 0, 0] = torch.inf  # type: ignore[index]

    hook = parts.control.register_forward_hook(overflow)
    redone = refine(reduced)
    hook.remove()
    np.testing.assert_allclose(redone, refine(exact), atol=0.03)
    assert parts.control.dtype == parts.unet.dtype == torch.bfloat16


def test_it_is_counted_in_the_batch(model: Path, control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaler.models.diffusion.placed.free_memory", lambda device, limit=None: 1 << 24)
    monkeypatch.setattr("upscaler.models.diffusion.placed.CODING_BYTES", 0)
    sizes: list[int] = []
    for refiner in (
        load_refiner(str(model), device="cpu"),
        load_refiner(str(model), control=str(control), device="cpu"),
    ):
        side = 64
        while refiner.batch_size(Size(side, side)):
            side += 8
        sizes.append(side)
    assert sizes[1] < sizes[0]


def test_pickles_are_read_weights_only(model: Path, control: Path, tmp_path: Path) -> None:
    pickled = make_control(tmp_path / "pickled", model, pickled=True)
    assert not list(pickled.glob("*.safetensors"))
    both = [
        load_refiner(str(model), control=str(folder), device="cpu", precision="float32")
        for folder in (control, pickled)
    ]
    np.testing.assert_allclose(refine(both[0]), refine(both[1]), atol=1e-4)
    (file,) = pickled.glob("*.bin")
    marker = tmp_path / "ran"
    file.write_bytes(pickle.dumps({"conv_in.weight": _Touch(marker)}))
    with pytest.raises(UnsupportedModel, match="pickled") as caught:
        load_refiner(str(model), control=str(pickled))
    assert "\n" not in str(caught.value)
    assert not marker.exists()


class _Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_pocket_takes_none(control: Path) -> None:
    with pytest.raises(SettingsError, match=r"diffusion\.control: pocket takes no ControlNet; name a Stable Diffusion"):
        load_refiner("pocket", control=str(control))


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("other-family", SettingsError, ["cross_attention_dim 64", "has 32"]),
        ("union", UnsupportedModel, ["cannot be loaded"]),
        ("depth", UnsupportedModel, ["RGB"]),
        ("empty", UnsupportedModel, ["config.json"]),
        ("checkpoint", UnsupportedModel, ["config.json"]),
        ("damaged", UnsupportedModel, ["cannot be loaded"]),
        ("no-weights", UnsupportedModel, ["cannot be loaded"]),
    ],
)
def test_wrong_folders_get_one_line(
    name: str, error: type[WeightsError] | type[SettingsError], words: list[str], model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / name
    if name == "other-family":
        make_control(folder, make_sdxl(tmp_path / "xl"))
    elif name == "checkpoint":
        make_sd(folder)
    elif name == "empty":
        folder.mkdir()
    else:
        make_control(folder, model)
        config = json.loads((folder / "config.json").read_text())
        config |= {"union": {"_class_name": "ControlNetUnionModel"}, "depth": {"conditioning_channels": 1}}.get(
            name, {}
        )
        (folder / "config.json").write_text(json.dumps(config))
        (file,) = folder.glob("*.safetensors")
        if name == "damaged":
            file.write_bytes(b"\xff" * 100)
        if name == "no-weights":
            file.unlink()
    with pytest.raises(error) as caught:
        load_refiner(str(model), control=str(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [name, *words]), message


def test_a_hub_id_out_of_reach_says_what_to_do(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFound, match=r"hub cannot be reached.*the path of a") as caught:
        load_refiner(str(model), control="nobody-there/no-such-control")
    assert "\n" not in str(caught.value)
