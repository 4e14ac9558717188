"""Tiles that are denoised together: where the network is pointwise they are the untiled picture, whatever the scheduler."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from upscaler.arrays.types import Image  # noqa: E402
from upscaler.errors import Cancelled  # noqa: E402
from upscaler.geometry import Box, Size  # noqa: E402
from upscaler.models import load_refiner  # noqa: E402
from upscaler.models.base import Habits, Joins  # noqa: E402
from upscaler.models.diffusion.components import Components  # noqa: E402
from upscaler.models.diffusion.flow import FlowRefiner  # noqa: E402
from upscaler.models.diffusion.haar import HaarCodec  # noqa: E402
from upscaler.models.diffusion.habits import Family  # noqa: E402
from upscaler.models.diffusion.refiner import DiffusionRefiner  # noqa: E402
from upscaler.models.diffusion.text import Prompt  # noqa: E402
from upscaler.options.settings import Sampling, options  # noqa: E402
from upscaler.tiling.grid import Cut, TileSides, grid  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd  # noqa: E402

SCHEDULERS = [
    name for name in next(option.choices for option in options() if option.name == "scheduler") if name != "auto"
]
CPU = torch.device("cpu")
SIZE = Size(200, 168)
PICTURE = np.random.default_rng(0).random((SIZE.height, SIZE.width, 3), np.float32)
WHOLE = Box(0, 0, *SIZE)


def plan(side: int = 96, overlap: int = 32) -> Any:
    return grid(SIZE, TileSides(side, side), Cut(overlap, overlap / 2, 8))


class Pointwise:
    """A network that sees one cell at a time, and is not linear in it."""

    def __init__(self) -> None:
        self.config = {"sample_size": None, "num_attention_heads": 1, "attention_head_dim": 8}
        self.batches: list[int] = []

    def __call__(self, sample: Any, timestep: Any, base: Any = None, strength: float = 0.0) -> Any:
        self.batches.append(len(sample))
        moved = 0.0 if base is None else 0.3 * torch.sin(3 * base)
        return torch.tanh(0.8 * sample + float(timestep.flatten()[0]) / 1000) + moved


class PointwiseFlow(FlowRefiner):
    def _velocity(self, sample: Any, timestep: Any, prompt: Prompt, sampling: Sampling) -> Any:
        return self._parts.unet(sample, timestep)


def refiner(*, flow: bool = False, prediction: str = "epsilon") -> Any:
    def text(prompt: str, *, negative: bool = False) -> Prompt:
        return Prompt(torch.zeros(1, 1, 8), torch.zeros(1, 8))

    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
    schedule |= {"shift": 3.0} if flow else {"prediction_type": prediction}
    if not flow:
        parts = Components(Pointwise(), HaarCodec(3), schedule, None, conditioned=True)
        return DiffusionRefiner(parts, device=CPU, dtype=torch.float32, name="pointwise")
    family = Family(module="", multiple=8, native=512, habits=Habits())
    source: Any = SimpleNamespace(
        codec=lambda: HaarCodec(3), scheduler=schedule, fixed=False, about="", device=CPU, dtype=torch.float32, name=""
    )
    return PointwiseFlow(Pointwise(), text, source, family)


def draw(model: Any, **sampling: Any) -> Image:
    sampling = {"strength": 0.6, "steps": 5, "guidance": 1.0, **sampling}
    on_step = sampling.pop("on_step", lambda step, of: None)
    return model([PICTURE], boxes=[WHOLE], sampling=Sampling(**sampling), seed=5, on_step=on_step)[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_with_a_pointwise_network_joint_is_untiled(scheduler: str, kind: str) -> None:
    if kind == "flow" and scheduler == "euler_a":
        pytest.skip("has no form for flow matching")
    model = refiner(flow=True) if kind == "flow" else refiner(prediction=kind)
    untiled = draw(model, scheduler=scheduler)
    joint = draw(model.jointly(plan(), 4), scheduler=scheduler)
    assert np.abs(untiled - PICTURE).max() > 0.05
    np.testing.assert_allclose(joint, untiled, atol=1e-5)


def test_batches_are_of_about_one_size_and_every_call_is_told() -> None:
    model, seen = refiner(), []
    windows = plan()
    assert len(windows) == 9
    draw(model.jointly(windows, 4), steps=2, scheduler="ddim", on_step=lambda step, of: seen.append((step, of)))
    assert model._parts.unet.batches == [3, 3, 3] * 2
    assert seen == [(step, 6) for step in range(1, 7)]


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("joint")
    model = make_sd(folder / "sd")
    return load_refiner(
        str(model), control=str(make_control(folder / "tile", model)), device="cpu", precision="float32"
    )


def test_it_is_the_same_model_and_blends_what_it_predicts(sd: Any) -> None:
    """One window is the tile itself; more of them are near it and not equal, whatever the batch."""
    assert isinstance(sd, Joins)
    whole = draw(sd, steps=2, guidance=3.0)
    one = draw(sd.jointly(plan(side=256), 1), steps=2, guidance=3.0)
    np.testing.assert_array_equal(one, whole)
    many = [draw(sd.jointly(plan(), batch), steps=2, guidance=3.0) for batch in (1, 4)]
    np.testing.assert_allclose(many[0], many[1], atol=1e-4)
    assert 1e-5 < np.abs(many[0] - whole).mean() < 0.1


def test_each_window_has_the_hint_that_lies_under_it(sd: Any) -> None:
    """The picture says where each of its pixels lies."""
    y, x = np.mgrid[: SIZE.height, : SIZE.width].astype(np.float32)
    picture = np.stack([x / SIZE.width, y / SIZE.height, np.zeros_like(x)], axis=2)
    seen: list[Any] = []
    hook = sd._parts.control.register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend(kwargs["controlnet_cond"].numpy()), with_kwargs=True
    )
    windows = plan()
    sampling = Sampling(strength=0.5, steps=2, guidance=1.0)
    sd.jointly(windows, 2)([picture], boxes=[WHOLE], sampling=sampling, seed=0, on_step=lambda step, of: None)
    hook.remove()
    assert len(seen) == 2 * len(windows)
    for hint, tile in zip(seen, [*windows, *windows]):
        rows, columns = tile.box.slices
        np.testing.assert_allclose(hint.transpose(1, 2, 0), picture[rows, columns], atol=1e-6)


@pytest.mark.parametrize("moment", ["encoder", "network", "decoder"])
def test_it_can_be_stopped_at_any_moment(sd: Any, moment: str) -> None:
    told: list[tuple[int, int]] = []

    def stop(step: int, of: int) -> None:
        told.append((step, of))
        if {"encoder": (0, 1), "network": (2, 18), "decoder": (1, 1)}[moment] == (step, of):
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        draw(sd.jointly(plan(), 1), steps=2, on_step=stop)
    assert not any(layer._forward_hooks for layer in sd._parts.codec.network.modules())


def test_flow_models_shift_their_noise_by_the_window_and_not_by_the_canvas() -> None:
    model = refiner(flow=True)
    model._parts.scheduler.update(use_dynamic_shifting=True)
    assert model._sampler(Sampling(steps=4, scheduler="euler"), plan().tile).timesteps[0] > 0
    seen: list[Size] = []
    sampler = model._sampler
    joint = model.jointly(plan(), 4)
    joint._sampler = lambda sampling, tile: seen.append(tile) or sampler(sampling, tile)
    draw(joint, scheduler="euler")
    assert seen == [plan().tile]
