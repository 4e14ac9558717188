"""One contract for every refiner: fakes, the bundled model, and models of each family with random weights."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from upscaler.arrays.types import Image
from upscaler.errors import Cancelled
from upscaler.geometry import Box, Size
from upscaler.models import load_refiner
from upscaler.models.base import Refiner, habits_of
from upscaler.options.settings import Sampling, options
from upscaler.stages.by_place import mixed
from upscaler.testing import IdentityRefiner, InvertRefiner, NoiseRefiner, ToneShiftRefiner

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))
import comfyui
import webui
from checkpoints import make_control, make_flux, make_one_step, make_sd, make_sd3, make_sdxl

FAKES = {kind.__name__: kind for kind in (IdentityRefiner, InvertRefiner, NoiseRefiner, ToneShiftRefiner)}
HOSTS = {
    "ComfyUI": comfyui.refiner,
    "ComfyUI, ancestral, fixed padding": lambda: comfyui.refiner(sampler="euler_ancestral", ring=16),
    "WebUI": webui.refiner,
}
SCHEDULERS = next(option.choices for option in options() if option.name == "scheduler")


def load(kind: str, folder: Path) -> Refiner:
    if kind in FAKES:
        return FAKES[kind]()
    if kind in HOSTS:
        return HOSTS[kind]()
    if kind == "pocket":
        return load_refiner("pocket", device="cpu", precision="float32")
    if kind in ("pisa-sr", "osediff"):
        base = make_sd(folder / "sd-2-1-base")
        file = make_one_step(folder / f"{kind}.pkl", kind, base)
        return load_refiner(str(file), base=str(base), device="cpu", precision="float32")
    family, _, control = kind.partition("+")
    make = {"sdxl": make_sdxl, "sd3": make_sd3, "flux": make_flux}.get(family, make_sd)
    extra = {"sd2": {"prediction": "v_prediction"}, "sd1-tiny-vae": {"vae": "tiny"}}.get(family, {})
    model = make(folder / family, **extra)
    control = str(make_control(folder / "tile", model)) if control else "none"
    return load_refiner(str(model), control=control, device="cpu", precision="float32")


@pytest.fixture(
    scope="module",
    params=[
        *FAKES,
        *HOSTS,
        "pocket",
        "pisa-sr",
        "osediff",
        "sd1",
        "sd1-tiny-vae",
        "sd2",
        "sdxl",
        "sd3",
        "flux",
        "sd1+control",
        "sd2+control",
        "sdxl+control",
    ],
)
def refiner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Refiner:
    return load(request.param, tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Refiner:
    return load("sd1", tmp_path_factory.mktemp("checkpoints"))


TILES = [np.random.default_rng(seed).random((64, 96, 3), np.float32) for seed in range(8)]
BOXES = [
    Box(x, y, x + 96, y + 64) for x, y in ((0, 0), (64, 0), (128, 0), (0, 40), (64, 40), (640, 320), (8, 8), (80, 160))
]


def refine(
    refiner: Refiner, indices: list[int], *, seed: int = 3, on_step=lambda k, n: None, **sampling: object
) -> list[Image]:  # type: ignore[no-untyped-def]
    sampling = {"strength": 0.3, "steps": 3, **sampling}
    return refiner(
        [TILES[i] for i in indices],
        boxes=[BOXES[i] for i in indices],
        sampling=Sampling(**sampling),
        seed=seed,
        on_step=on_step,  # type: ignore[arg-type]
    )


def test_it_is_a_refiner(refiner: Refiner) -> None:
    assert isinstance(refiner, Refiner)
    assert refiner.multiple >= 1
    assert refiner.batch_size(Size(64, 64)) >= 1


def test_shape_range_and_type(refiner: Refiner) -> None:
    before = TILES[0].copy()
    (tile,) = refine(refiner, [0])
    assert tile.shape == (64, 96, 3)
    assert tile.dtype == np.float32
    assert tile.flags.c_contiguous
    assert np.isfinite(tile).all()
    assert tile.min() >= 0
    assert tile.max() <= 1
    np.testing.assert_array_equal(TILES[0], before)
    assert tile is not TILES[0]


@pytest.mark.parametrize("batch", [3, 8])
def test_the_batch_does_not_matter(refiner: Refiner, batch: int) -> None:
    alone = [refine(refiner, [index])[0] for index in range(batch)]
    order = list(range(batch))[::-1]
    together = refine(refiner, order)
    for index, tile in zip(order, together):
        np.testing.assert_allclose(tile, alone[index], atol=1e-4)


def test_prompts_may_be_mixed_in_a_batch(refiner: Refiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order each tile is drawn by its own prompt, whatever its length; a text is encoded once."""
    if not getattr(refiner, "mixes_prompts", False):
        pytest.skip("it takes one prompt a batch")
    long = "a wide green hill " * 30
    prompts = ["a red barn", long, "a red barn", "a lake"]
    alone = [refine(refiner, [index], prompt=prompt)[0] for index, prompt in enumerate(prompts)]
    encoded: list[tuple[str, bool]] = []
    if (encode := getattr(refiner, "_encoded", None)) is not None:
        encode.cache_clear()
        text = refiner._parts.text  # type: ignore[attr-defined]
        note = lru_cache(
            lambda prompt, negative=False: (encoded.append((prompt, negative)), text(prompt, negative=negative))[1]
        )
        monkeypatch.setattr(refiner, "_encoded", note)
    for order in ([0, 1, 2, 3], [3, 1], [2, 0, 3]):
        sampling = mixed(Sampling(strength=0.3, steps=3), [prompts[index] for index in order])
        tiles, boxes = [TILES[index] for index in order], [BOXES[index] for index in order]
        seen: list[float] = []
        drawn = refiner(
            tiles, boxes=boxes, sampling=sampling, seed=3, on_step=lambda k, n, seen=seen: seen.append(k / n)
        )
        assert seen == sorted(seen)
        assert seen[-1] == 1
        for index, tile in zip(order, drawn):
            np.testing.assert_allclose(tile, alone[index], atol=1e-4)
    assert len(encoded) == len({*encoded})


def test_same_input_same_bytes(refiner: Refiner) -> None:
    assert refine(refiner, [0, 1])[1].tobytes() == refine(refiner, [0, 1])[1].tobytes()


def test_steps_are_reported_and_can_stop(refiner: Refiner) -> None:
    seen: list[tuple[int, int]] = []
    refine(refiner, [0], on_step=lambda step, of: seen.append((step, of)))
    evaluations = habits_of(refiner).evaluations(Sampling(strength=0.3, steps=3))
    assert seen == [(step, evaluations) for step in range(1, evaluations + 1)]

    def stop(step: int, of: int) -> None:
        if step == min(2, of):
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        refine(refiner, [0], on_step=stop)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(sd: Refiner, scheduler: str) -> None:
    """Each of them, in any batch, gives the same finite picture, another one for another seed, and more for more strength."""
    alone = refine(sd, [1], scheduler=scheduler)[0]
    np.testing.assert_allclose(refine(sd, [5, 1, 2], scheduler=scheduler)[1], alone, atol=1e-4)
    assert np.abs(refine(sd, [1], scheduler=scheduler, seed=4)[0] - alone).max() > 1e-3
    assert np.abs(refine(sd, [1], scheduler=scheduler, strength=0.8)[0] - alone).max() > 1e-3
    seen: list[int] = []
    refine(sd, [1], scheduler=scheduler, steps=7, on_step=lambda step, of: seen.append(of))
    assert seen == [7] * 7
    assert np.isfinite(refine(sd, [1], scheduler=scheduler, steps=1)[0]).all()


def test_the_deterministic_first_order_schedulers_agree(sd: Refiner) -> None:
    """DDIM is Euler's method in another variable."""
    np.testing.assert_allclose(refine(sd, [0], scheduler="ddim")[0], refine(sd, [0], scheduler="euler")[0], atol=1e-4)


def test_prompts_matter_only_as_they_should(sd: Refiner) -> None:
    plain = refine(sd, [0], guidance=1.0)[0]
    assert np.abs(refine(sd, [0], guidance=1.0, prompt="a red barn")[0] - plain).max() > 1e-5
    assert refine(sd, [0], guidance=1.0, negative_prompt="blurry")[0].tobytes() == plain.tobytes()
    guided = refine(sd, [0], guidance=5.0)[0]
    assert np.abs(refine(sd, [0], guidance=5.0, negative_prompt="blurry")[0] - guided).max() > 1e-5


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_controlnet_acts_by_its_scale(family: str, guidance: float, tmp_path: Path) -> None:
    """0 is bit by bit the model without it; then the effect grows, and it is that of the tile which the net sees."""
    plain = load(family, tmp_path)
    controlled = load(f"{family}+control", tmp_path)
    without = refine(plain, [0], guidance=guidance)[0]
    assert refine(controlled, [0], guidance=guidance, control_scale=0.0)[0].tobytes() == without.tobytes()
    effects = [
        float(np.abs(refine(controlled, [0], guidance=guidance, control_scale=scale)[0] - without).mean())
        for scale in (0.1, 0.5, 1.0)
    ]
    assert 1e-4 < effects[0] < effects[1] < effects[2]

    hints: list[np.ndarray] = []
    control = controlled._parts.control  # type: ignore[attr-defined]
    hook = control.register_forward_pre_hook(
        lambda module, args, kwargs: hints.append(kwargs["controlnet_cond"].numpy()), with_kwargs=True
    )
    refine(controlled, [2, 0], guidance=guidance, steps=1)
    hook.remove()
    assert len(hints) == 1
    views = 2 if guidance > 1 else 1
    for hint, tile in zip(hints[0], [TILES[2], TILES[0]] * views):
        np.testing.assert_allclose(hint.transpose(1, 2, 0), tile, atol=1e-6)
    assert len(hints[0]) == 2 * views


def test_overlapping_tiles_see_the_same_noise() -> None:
    """A refiner that is local gives equal pixels where two tiles overlap."""
    refiner = NoiseRefiner()
    left, right = refiner(
        [np.full((64, 96, 3), 0.5, np.float32)] * 2,
        boxes=BOXES[:2],
        sampling=Sampling(),
        seed=1,
        on_step=lambda k, n: None,
    )
    np.testing.assert_array_equal(left[:, 64:], right[:, :32])
