"""The diffusion refiner beyond its contract: broken numbers, folders that are no models, and the hub out of reach."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import upscaler
from upscaler.arrays.types import Image
from upscaler.errors import OutOfMemory, UnsupportedModel, WeightsNotFound
from upscaler.geometry import Box
from upscaler.models import load_refiner, load_upscaler
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd

TILE: Image = np.random.default_rng(3).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd(tmp_path_factory.mktemp("model"))


def refine(refiner: upscaler.Refiner, tiles: list[Image]) -> list[Image]:
    boxes = [Box(64 * i, 0, 64 * i + 64, 64) for i in range(len(tiles))]
    return refiner(tiles, boxes=boxes, sampling=Sampling(steps=2), seed=0, on_step=lambda k, n: None)


def test_a_tile_that_overflows_is_redone_in_float32(folder: Path) -> None:
    exact = load_refiner(str(folder), device="cpu", precision="float32")
    reduced = load_refiner(str(folder), device="cpu", precision="bfloat16")
    unet = reduced._parts.unet  # type: ignore[attr-defined]

    def overflow(module: torch.nn.Module, inputs: object, output: object) -> None:
        if module.dtype == torch.bfloat16:
            output.sample[0, 0, 0, 0] = torch.inf  # type: ignore[attr-defined]

    hook = unet.register_forward_hook(overflow)
    tiles = refine(reduced, [TILE, TILE[::-1].copy()])
    hook.remove()
    expected = refine(exact, [TILE, TILE[::-1].copy()])
    for tile, wanted in zip(tiles, expected):  # weights that were rounded once stay rounded
        np.testing.assert_allclose(tile, wanted, atol=0.03)
    assert unet.dtype == torch.bfloat16


def test_memory_that_runs_out_on_the_way_to_float32_leaves_no_mixed_model(folder: Path) -> None:
    refiner = load_refiner(str(folder), device="cpu", precision="bfloat16")
    unet = refiner._parts.unet  # type: ignore[attr-defined]
    before = refine(refiner, [TILE])[0]
    hook = unet.conv_out.register_forward_hook(lambda module, inputs, output: output.fill_(torch.inf))
    apply = unet.up_blocks._apply

    def fail(function: object, *rest: object) -> object:
        if unet.conv_in.weight.dtype == torch.float32:  # the first half is converted
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return apply(function, *rest)

    unet.up_blocks._apply = fail
    with pytest.raises(OutOfMemory):
        refine(refiner, [TILE])
    hook.remove()
    assert {weight.dtype for weight in unet.parameters()} == {torch.bfloat16}
    after = refine(refiner, [TILE])[0]  # its autoencoder stays in float32
    np.testing.assert_allclose(after, before, atol=0.02)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried 20 GiB.\nGPU 0")])
@pytest.mark.parametrize("kind", ["unet", "control"])
def test_memory_that_runs_out_while_loading_is_one_line(
    error: Exception, kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = str(make_control(tmp_path / "control", folder)) if kind == "control" else "none"
    network = diffusers.ControlNetModel if kind == "control" else diffusers.UNet2DConditionModel

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(network, "from_pretrained", fail)
    with pytest.raises(OutOfMemory, match=r"the model .* does not fit .* smaller model") as caught:
        load_refiner(str(folder), control=control, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_models_that_load_at_the_same_time_are_those_that_load_one_after_the_other(folder: Path) -> None:
    """While they load, libraries change torch's default number format and more, for all threads."""
    wanted = ["bfloat16", "float32", "bfloat16", "realesr-animevideov3"]

    def load(name: str) -> tuple[set[torch.dtype], bytes]:
        if name.startswith("realesr"):
            gan = load_upscaler(name, device="cpu", precision="float32")
            return {weight.dtype for weight in gan.network.model.parameters()}, gan(TILE).tobytes()  # type: ignore[attr-defined]
        refiner = load_refiner(str(folder), device="cpu", precision=name)
        weights = refiner._parts.unet.parameters()  # type: ignore[attr-defined]
        return {weight.dtype for weight in weights}, refine(refiner, [TILE])[0].tobytes()

    serial = [load(name) for name in wanted]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(load, wanted)) == serial
    assert torch.get_default_dtype() is torch.float32


def test_reduced_precision_is_close(folder: Path) -> None:
    exact, reduced = (
        refine(load_refiner(str(folder), device="cpu", precision=p), [TILE])[0] for p in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - reduced).mean() < 0.02


def test_wrong_folders_get_one_line(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "pickled", "flux", "damaged"):
        path = tmp_path / name
        if name == "pickled":  # weights that could run code are not even opened
            make_sd(path)
            for file in (path / "unet").glob("*.safetensors"):
                file.rename(file.with_name("diffusion_pytorch_model.bin"))
        if name == "flux":
            path.mkdir()
            (path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
        if name == "damaged":
            make_sd(path)
            (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 100)
        with pytest.raises(UnsupportedModel) as caught:
            load_refiner(str(path))
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_a_hub_id_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFound, match=r"hub cannot be reached.*folder in diffusers format") as caught:
        load_refiner("nobody-there/no-such-model")
    assert "\n" not in str(caught.value)


def test_a_whole_run_with_stable_diffusion(folder: Path, photograph: Image) -> None:
    small = photograph[100:196, 200:328].copy()
    options = {
        "gan": "realesr-animevideov3",
        "model": str(folder),
        "tile": 256,
        "strength": 0.2,
        "steps": 2,
        "seams": "band",
        "seam_steps": 1,
    }
    first = upscaler.upscale(small, 4, **options)
    assert first.size == (512, 384)
    assert np.isfinite(first.pixels).all()
    plain = upscaler.upscale(small, 4, gan="realesr-animevideov3", model="none")
    assert 0 < np.abs(first.pixels - plain.pixels).mean() < 0.2
