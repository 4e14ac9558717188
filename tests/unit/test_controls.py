"""Several ControlNets at once, in a part of the steps, and the hint that each tile gets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import upscaler
from upscaler.errors import SettingsError
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import Sampling, Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd

TILE = np.random.default_rng(5).random((64, 96, 3), np.float32)
BOX = Box(0, 0, 96, 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    make_control(folder / "tile", make_sd(folder / "sd1"))
    return folder / "sd1"


def load(model: Path, control: str) -> Any:
    return load_refiner(str(model), control=control, device="cpu", precision="float32")


def draw(refiner: Any, **sampling: Any) -> Any:
    values = {"strength": 0.5, "steps": 4, "guidance": 1.0, "scheduler": "ddim", **sampling}
    return refiner([TILE], boxes=[BOX], sampling=Sampling(**values), seed=3, on_step=lambda k, n: None)[0]


def count_calls(control: Any) -> list[int]:
    calls: list[int] = []
    control.register_forward_pre_hook(lambda module, args: calls.append(1))
    return calls


def test_two_halves_are_a_whole(model: Path) -> None:
    tile = str(model.parent / "tile")
    whole = draw(load(model, tile))
    np.testing.assert_allclose(draw(load(model, f"{tile}:0.5; {tile}:0.5")), whole, atol=1e-5)
    np.testing.assert_allclose(draw(load(model, f"{tile}:0.3")), draw(load(model, tile), control_scale=0.3), atol=1e-5)
    assert np.abs(draw(load(model, f"{tile};{tile}:0.5")) - whole).max() > 1e-3
    none = draw(load(model, f"{tile}:0.7; {tile}"), control_scale=0.0)
    assert none.tobytes() == draw(load(model, "none")).tobytes()


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [(0.0, 1.0, 4), (0.5, 1.0, 2), (0.0, 0.25, 1), (0.25, 0.75, 2), (1.0, 1.0, 0), (0.0, 0.0, 0)],
)
def test_it_acts_in_a_part_of_the_steps(model: Path, start: float, end: float, steps: int) -> None:
    refiner = load(model, str(model.parent / "tile"))
    calls = count_calls(refiner._parts.control)
    drawn = draw(refiner, control_start=start, control_end=end)
    assert len(calls) == steps
    assert (drawn.tobytes() == draw(load(model, "none")).tobytes()) == (steps == 0)


def test_what_is_wrong_is_said_in_one_line(model: Path) -> None:
    with pytest.raises(SettingsError, match=r"diffusion\.control_start: 0\.6 is above diffusion\.control_end 0\.5"):
        Settings.of(control_start=0.6, control_end=0.5)
    with pytest.raises(SettingsError, match=r"diffusion\.control: 'tile:30' has a weight"):
        Settings.of(control="tile:30")
    for text in ("none; tile", " "):
        with pytest.raises(SettingsError, match=r"diffusion\.control: "):
            load(model, text)


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
@pytest.mark.parametrize("batch", [1, 3])
def test_each_tile_gets_its_own_part_of_the_picture_as_hint(
    model: Path, order: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture says where each of its pixels lies, and so does every hint, whatever the batch and the order."""
    refiner = load(model, f"{model.parent / 'tile'}; {model.parent / 'tile'}:0.5")
    y, x = np.mgrid[0:200, 0:240].astype(np.float32)
    noise = np.random.default_rng(0).random((200, 240)).astype(np.float32)  # tiles without detail are skipped
    picture = np.stack([x / 240, y / 200, 0.25 + noise / 2], axis=-1)
    settings = Settings.of(scale=1, gan="none", steps=1, guidance=1.0, strength=0.3, tile="96", overlap=32, feather=16,
                           order=order, batch=batch, seams="none", consistency=0.0)  # fmt: skip
    seen: list[tuple[Box, Any]] = []
    call = type(refiner).begin

    def watch(self: Any, tiles: Any, *, boxes: Any, **rest: Any) -> Any:
        hints: list[Any] = []
        hooks = [
            network.register_forward_pre_hook(
                lambda module, args, kwargs: hints.append(kwargs["controlnet_cond"].numpy()), with_kwargs=True
            )
            for network in self._parts.control._networks
        ]
        drawn = call(self, tiles, boxes=boxes, **rest)
        for hook in hooks:
            hook.remove()
        assert len(hints) == 2
        for hint in hints:
            seen.extend(zip(boxes, hint))
        return drawn

    monkeypatch.setattr(type(refiner), "begin", watch)
    for _ in upscaler.run(picture, settings, refiner=refiner):
        pass
    assert len(seen) == 2 * len({box for box, _ in seen}) >= 12
    for box, hint in seen:
        part = picture[box.slices]
        assert part.shape == (*hint.shape[1:], 3) or box.right > 240 or box.bottom > 200
        middle = (box.left + box.right - 1) / 2, (box.top + box.bottom - 1) / 2
        if box.right <= 240 and box.bottom <= 200:  # beyond, the picture is reflected
            assert abs(hint[0].mean() * 240 - middle[0]) < 4
            assert abs(hint[1].mean() * 200 - middle[1]) < 4
            if order == "independent":
                np.testing.assert_allclose(hint.transpose(1, 2, 0), part, atol=1e-4)
