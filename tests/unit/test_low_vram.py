"""Parts of a model take turns on its device: each comes once for a wave of tiles, and the tiles stay the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from upscaler.arrays.types import Image  # noqa: E402
from upscaler.errors import SettingsError  # noqa: E402
from upscaler.geometry import Box, Size  # noqa: E402
from upscaler.models import device, load_refiner  # noqa: E402
from upscaler.models.diffusion.placing import Places  # noqa: E402
from upscaler.options.settings import Sampling  # noqa: E402
from upscaler.stages.by_place import mixed  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd, make_sd3  # noqa: E402

CPU = torch.device("cpu")
TILES = [np.random.default_rng(seed).random((64, 64, 3), np.float32) for seed in range(5)]
BOXES = [Box(48 * index, 0, 48 * index + 64, 64) for index in range(5)]


def draw(model: Any, seen: list[Any] | None = None) -> list[Image]:
    return model(
        TILES,
        boxes=BOXES,
        sampling=Sampling(strength=0.5, steps=2, guidance=3.0),
        seed=1,
        on_step=lambda step, of: None if seen is None else seen.append((step, of)),
    )


class Fake:
    """A module that notes where it is moved to."""

    def __init__(self, name: str, moves: list[tuple[str, str]], size: int = 0) -> None:
        self.name, self.moves = name, moves
        self.weights = [torch.empty(size, dtype=torch.int8)]

    def to(self, where: Any) -> None:
        self.moves.append((self.name, where.type))

    def parameters(self) -> list[Any]:
        return self.weights


def test_one_part_comes_and_the_other_leaves() -> None:
    moves: list[tuple[str, str]] = []
    parts = {"network": [Fake("unet", moves, 300), Fake("control", moves, 100)], "codec": [Fake("vae", moves, 50)]}
    places = Places(parts, torch.device("meta"), lambda where: 1000)
    places.bring("codec")
    places.bring("codec")
    assert moves == [("vae", "meta")]
    assert places.room_for("network") == 1000 + 50 - 400
    assert places.room_for("codec") == 1000
    places.bring("network")
    assert moves[1:] == [("vae", "cpu"), ("unet", "meta"), ("control", "meta")]


@pytest.fixture(scope="module", params=["sd1+control", "sd3", "pocket"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The same model twice, the second one with its parts in turns; in memory, which is as good a device as any."""
    folder = tmp_path_factory.mktemp("low_vram")
    options: dict[str, str] = {}
    if request.param == "pocket":
        name = "pocket"
    elif request.param == "sd3":
        name = str(make_sd3(folder / "sd3"))
    else:
        name = str(make_sd(folder / "sd"))
        options = {"control": str(make_control(folder / "tile", folder / "sd"))}
    plain = load_refiner(name, device="cpu", precision="float32", **options)
    other = load_refiner(name, device="cpu", precision="float32", memory=2**40, **options)
    assert other is not plain
    return plain, other.within(None, low_vram=CPU)  # type: ignore[attr-defined]


def test_a_wave_moves_each_part_once(models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other = models
    brought: list[str] = []
    move = Places._move
    monkeypatch.setattr(
        Places,
        "_move",
        lambda self, part, where: brought.append(part) or move(self, part, where),  # in and out look alike here
    )
    seen: list[Any] = []
    tiles = draw(other, seen)
    text = ["text"] * (plain._parts.text is not None)
    arrivals = [part for part, before in zip(brought, [None, *brought]) if part != before]
    assert arrivals == ["codec", *text, "network", "codec"]
    steps = seen[-1][1]
    assert seen == [(step, steps) for step in range(1, steps + 1)]
    for ours, theirs in zip(tiles, draw(plain)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    brought.clear()
    draw(other)  # the autoencoder is there from the wave before, and the prompts are known
    assert [part for part, before in zip(brought, [None, *brought]) if part != before] == ["codec", "network", "codec"]


def test_a_wave_is_many_tiles_and_the_network_sees_as_many_as_fit(
    models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = models
    assert other.batch_size(Size(64, 64)) == 64
    monkeypatch.setattr(other, "_fitting", lambda tile: 2)
    seen: list[Any] = []
    draw(other, seen)
    assert seen[-1][1] % 3 == 0  # five tiles in groups of two


def test_each_tile_of_a_wave_keeps_its_prompt(models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other = models
    monkeypatch.setattr(other, "_fitting", lambda tile: 2)
    sampling = mixed(Sampling(steps=2, strength=0.5), ["a barn", "a lake", "a barn", "a hill " * 30, "a cat"])
    tiles = [np.random.default_rng(index).random((64, 64, 3), np.float32) for index in range(5)]
    boxes = [Box(64 * index, 0, 64 * index + 64, 64) for index in range(5)]
    drawn = [
        model(tiles, boxes=boxes, sampling=sampling, seed=0, on_step=lambda step, of: None) for model in (plain, other)
    ]
    np.testing.assert_allclose(*drawn, atol=1e-4)


def test_no_room_for_the_network_is_told() -> None:
    model: Any = load_refiner("pocket", device="cpu", precision="float32", memory=2**41)
    model.within(None, low_vram=CPU)
    model._places._free = lambda where: 0
    assert model.batch_size(Size(512, 512)) == 0


def test_a_limit_counts_what_the_process_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = device._taken_memory(CPU)
    assert taken > 2**20
    monkeypatch.setattr(device, "_free_memory", lambda where: 2**40)
    monkeypatch.setattr(device, "_taken_memory", lambda where: 3000)
    assert device.free_memory(CPU) == 2**40
    assert device.free_memory(CPU, 5000) == 2000
    assert device.free_memory(CPU, 2000) == 0


def test_weights_in_float8_take_a_byte_and_draw_nearly_the_same(tmp_path: Path) -> None:
    name = str(make_sd(tmp_path / "sd"))
    plain = load_refiner(name, device="cpu", precision="float32")
    small: Any = load_refiner(name, device="cpu", precision="float32", storage="float8")
    unet = small._parts.unet
    assert unet.down_blocks[0].resnets[0].conv1.weight.dtype == torch.float8_e4m3fn
    ours, theirs = draw(small), draw(plain)
    assert unet.down_blocks[0].resnets[0].conv1.weight.dtype == torch.float8_e4m3fn
    for one, other in zip(ours, theirs):
        assert 0 < np.abs(one - other).mean() < 0.02


def test_what_cannot_be_kept_in_float8_says_so() -> None:
    with pytest.raises(SettingsError, match=r"hardware\.storage: pocket .* use auto"):
        load_refiner("pocket", device="cpu", storage="float8")
