"""Union ControlNets; and that each tile's hint is the tile itself, in any batch and order."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from safetensors.torch import load_file, save_file

from upscaler.arrays.types import Image
from upscaler.errors import UnsupportedModel
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sdxl, make_union

_NETWORKS = (ControlNetModel, ControlNetUnionModel)
SAMPLING = Sampling(steps=3, strength=0.5, prompt="a cat", guidance=3)
BOXES = [Box(x, y, x + 64, y + 48) for x, y in ((0, 0), (48, 0), (0, 32), (48, 32), (96, 64))]


def coordinates(box: Box) -> Image:
    """A tile whose every pixel says where in the canvas it lies."""
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right].astype(np.float32)
    return np.stack([x / 256, y / 256, np.full_like(x, 0.25)], axis=-1)


def refine(refiner: Any, order: list[int], **more: Any) -> list[Image]:
    sampling = Sampling(**{**vars(SAMPLING), **more})
    tiles, boxes = [coordinates(BOXES[i]) for i in order], [BOXES[i] for i in order]
    return refiner(tiles, boxes=boxes, sampling=sampling, seed=0, on_step=lambda k, n: None)


def load(model: Path, control: str) -> Any:
    return load_refiner(str(model), control=control, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def union(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_union(tmp_path_factory.mktemp("controls") / "union", model)


@pytest.mark.parametrize("kind", ["plain", "union", "both"])
def test_hints_are_cut_for_each_tile_in_every_batch_and_order(
    kind: str, model: Path, union: Path, tmp_path: Path
) -> None:
    """The hint that a network is shown encodes its coordinates, and they are those of its tile."""
    plain = make_control(tmp_path / "plain", model)
    refiner = load(model, {"plain": str(plain), "union": str(union), "both": f"{plain}:0.5;{union}:0.7"}[kind])
    networks = [each for each in refiner._parts.control.modules() if isinstance(each, _NETWORKS)]
    assert len(networks) == (2 if kind == "both" else 1)
    hints: list[torch.Tensor] = []
    for network in networks:
        network.controlnet_cond_embedding.register_forward_pre_hook(lambda _, args: hints.append(args[0]))
    alone = [refine(refiner, [index])[0] for index in range(5)]
    for order in ([0, 1, 2, 3, 4], [4, 2], [3, 0, 1], [1, 4, 3, 2]):
        hints.clear()
        drawn = refine(refiner, order)
        assert len(hints) == 3 * len(networks)
        for hint in hints:
            for shown, index in zip(hint, [*order, *order]):  # for the prompt, and for the negative one
                np.testing.assert_allclose(shown.permute(1, 2, 0), coordinates(BOXES[index]), atol=1e-6)
        for tile, index in zip(drawn, order):
            np.testing.assert_allclose(tile, alone[index], atol=1e-4)


def test_a_union_is_told_that_its_hint_is_a_tile(model: Path, union: Path) -> None:
    refiner = load(model, str(union))
    (network,) = (each for each in refiner._parts.control.modules() if isinstance(each, ControlNetUnionModel))
    calls: list[dict[str, Any]] = []
    network.register_forward_pre_hook(lambda _, args, kwargs: calls.append(kwargs), with_kwargs=True)
    controlled = refine(refiner, [0, 1])[0]
    assert len(calls) == 3
    assert calls[0]["control_type_idx"] == [6]
    assert calls[0]["control_type"].tolist() == [[0, 0, 0, 0, 0, 0, 1, 0]] * 4
    without = refine(load(model, "none"), [0])[0]
    assert np.abs(controlled - without).max() > 1e-3
    assert refine(refiner, [0], control_scale=0.0)[0].tobytes() == without.tobytes()
    calls.clear()
    refine(refiner, [0], control_start=0.5)
    assert len(calls) == 1, "it acts in the last of three steps"


def test_a_file_of_a_union_draws_what_its_folder_draws(model: Path, union: Path, tmp_path: Path) -> None:
    (stored,) = union.glob("*.safetensors")
    save_file(load_file(stored), tmp_path / "promax.safetensors")
    drawn = [refine(load(model, str(path)), [2])[0].tobytes() for path in (union, tmp_path / "promax.safetensors")]
    assert drawn[0] == drawn[1]
    state = {name: value for name, value in load_file(stored).items() if not name.startswith("controlnet_mid_block")}
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(UnsupportedModel, match="weights are missing"):
        load(model, str(tmp_path / "broken.safetensors"))


def test_the_authors_own_name_of_the_class_is_known(model: Path, union: Path) -> None:
    config = json.loads((union / "config.json").read_text())
    (union / "config.json").write_text(json.dumps({**config, "_class_name": "ControlNetModel_Union"}))
    assert load(model, str(union))._parts.control is not None


def test_a_union_without_tiles_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    folder = make_union(tmp_path / "union", model, kinds=6)
    (stored,) = folder.glob("*.safetensors")
    for path in (folder, stored):
        with pytest.raises(UnsupportedModel, match=r"of which tile is none; use its ProMax version"):
            load(model, str(path))
