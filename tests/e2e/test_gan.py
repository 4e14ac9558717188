"""The GAN stage with real networks: what files it refuses, how it falls back, and that its pictures make sense."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from upscaler import memory, weights
from upscaler.arrays.types import Image
from upscaler.errors import Cancelled, OutOfMemory, SettingsError, UnsupportedModel, WeightsError

torch = pytest.importorskip("torch")
spandrel = pytest.importorskip("spandrel")

from safetensors.torch import save_file  # noqa: E402
from spandrel.architectures.Compact import Compact  # noqa: E402

from upscaler.models import backends  # noqa: E402
from upscaler.models import device as devices  # noqa: E402
from upscaler.models.backends import Way  # noqa: E402
from upscaler.models.compiled import Compiled  # noqa: E402
from upscaler.models.gan import load, ways  # noqa: E402
from upscaler.models.gan import network as gan  # noqa: E402
from upscaler.models.gan import read as reading  # noqa: E402
from upscaler.models.gan.load import load_upscaler  # noqa: E402
from upscaler.models.gan.network import GanUpscaler  # noqa: E402
from upscaler.models.gan.read import read_network  # noqa: E402

PHOTO = Path(__file__).parents[2] / "examples" / "photo.png"
CPU = torch.device("cpu")
SAFETENSORS = weights.bundled_folder() / "realesr-animevideov3.safetensors"


def compact_state() -> dict[str, Any]:
    """Random weights of a small network of scale 2."""
    torch.manual_seed(0)
    return Compact(num_feat=8, num_conv=2, upscale=2).state_dict()


@pytest.fixture
def photo() -> Image:
    with PIL.Image.open(PHOTO) as file:
        side = min(file.size) // 4 * 4
        small = file.convert("RGB").crop((0, 0, side, side)).resize((side // 4, side // 4), PIL.Image.Resampling.BOX)
        left = (small.width - 64) // 2
        return np.asarray(small.crop((left, left, left + 64, left + 64)), np.float32) / 255


# Files that are no models


class Evil:
    """A pickle of this writes a file when it is read by an unrestricted unpickler."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.victim,)


def bad_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Write one file of each kind: (its name, words of the message)."""

    def write(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return name

    def save(name: str, content: Any) -> str:
        torch.save(content, folder / name)
        return name

    def save_tensors(name: str, tensors: dict[str, Any]) -> str:
        save_file(tensors, folder / name)
        return name

    whole = SAFETENSORS.read_bytes()
    victim = folder / "victim"
    one = torch.ones(1)
    broken = compact_state()
    broken["body.2.weight"] = torch.ones(3, 3)
    nan = {name: tensor * float("nan") for name, tensor in compact_state().items()}
    yield write("empty.pth", b""), "not a file of weights"
    yield write("empty.safetensors", b""), "not a whole safetensors file"
    yield write("text.pth", b"<!DOCTYPE html><html>404</html>\n" * 9), "not a file of weights"
    yield write("text.safetensors", b"version https://git-lfs.github.com/spec/v1\n" * 3), "not a whole safetensors file"
    yield write("truncated.safetensors", whole[: len(whole) // 2]), "not a whole safetensors file"
    yield write("header.safetensors", struct.pack("<Q", 1 << 60) + b"{}"), "not a whole safetensors file"
    yield write("evil-plain.pth", pickle.dumps({"params": Evil(victim)}, protocol=2)), "which is never run"
    yield save("evil.pth", {"params": {"conv_first.weight": one, "x": Evil(victim)}}), "which is never run"
    yield save("evil.ckpt", Evil(victim)), "which is never run"
    yield save("list.pth", [one]), "holds a list"
    yield save("numbers.pth", {"epoch": 3}), "no architecture"
    yield save_tensors("other.safetensors", {"encoder.weight": one}), "no architecture"
    yield save_tensors("shapes.safetensors", broken), "no architecture"
    yield save_tensors("nan.safetensors", nan), "not finite"
    yield save_tensors("sd.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": one}), "diffusion model"
    yield save_tensors("unet.safetensors", {"down_blocks.0.resnets.0.conv1.weight": one}), "diffusion model"
    yield save_tensors("lora.safetensors", {"lora_unet_down.lora_up.weight": one}), "diffusion model"
    (folder / "diffusers").mkdir()
    yield "diffusers", "this is a folder"


def test_what_is_no_model_is_refused_in_one_line_and_never_run(tmp_path: Path) -> None:
    for name, words in bad_files(tmp_path):
        with pytest.raises(UnsupportedModel, match=words) as caught:
            load_upscaler(tmp_path / name, device="cpu")
        message = str(caught.value)
        assert len(message.splitlines()) == 1, message
        assert len(message) < 500, message
        assert str(tmp_path / name) in message
    assert not (tmp_path / "victim").exists()
    Evil(tmp_path / "victim").__reduce__()[0](tmp_path / "victim")
    assert (tmp_path / "victim").exists(), "the pickles above would have been harmless"


@pytest.mark.parametrize(("field", "value"), [("purpose", "FaceSR"), ("input_channels", 5)])
def test_a_network_for_something_else_is_refused(
    field: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(compact_state(), tmp_path / "x.safetensors")

    class Changed(spandrel.ImageModelDescriptor):
        def __getattribute__(self, name: str) -> Any:
            return value if name == field else super().__getattribute__(name)

    def load(_: object, state: dict[str, Any]) -> Any:
        network = spandrel.MAIN_REGISTRY.load(state)
        network.__class__ = Changed
        return network

    monkeypatch.setattr(reading, "known_network", lambda state: None)
    monkeypatch.setattr(spandrel.ModelLoader, "load_from_state_dict", load)
    with pytest.raises(UnsupportedModel, match=r"is for faces, not for|makes 3 channels of 5"):
        load_upscaler(tmp_path / "x.safetensors", device="cpu")


def test_a_pickled_state_dict_is_the_same_model(tmp_path: Path, photo: Image) -> None:
    state = compact_state()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"params_ema": state, "epoch": 7}, tmp_path / "b.pth")
    results = [
        load_upscaler(tmp_path / name, device="cpu", precision="float32")(photo) for name in ("a.safetensors", "b.pth")
    ]
    assert np.array_equal(*results)


def test_the_halo_is_the_measured_one_or_that_of_the_architecture(tmp_path: Path) -> None:
    save_file(compact_state(), tmp_path / "mine.safetensors")
    mine = load_upscaler(tmp_path / "mine.safetensors", device="cpu")
    assert (mine.name, mine.scale, mine.halo) == ("mine", 2, gan.HALOS["Compact"])
    assert load_upscaler(SAFETENSORS, device="cpu").halo == weights.get("realesr-animevideov3", "gan").halo


# Precision


def overflowing() -> dict[str, Any]:
    """A network whose inner values go beyond 65504, the end of float16, while its output stays small."""
    state = compact_state()
    state["body.0.weight"] *= 3e6
    state["body.0.bias"] *= 3e6
    state["body.6.weight"] /= 3e6
    return state


def overflow(module: object, inputs: tuple[Any, ...]) -> Any:
    return inputs[0] / 0 if inputs[0].dtype is torch.bfloat16 else None


@pytest.fixture
def reduced(tmp_path: Path) -> GanUpscaler:
    """A small network in bfloat16 that overflows."""
    save_file(compact_state(), tmp_path / "large.safetensors")
    upscaler = load_upscaler(tmp_path / "large.safetensors", device="cpu", precision="bfloat16")
    upscaler.network.model.body[0].register_forward_pre_hook(overflow)
    return upscaler


def test_a_result_that_is_not_finite_is_computed_again_in_float32(
    reduced: GanUpscaler, tmp_path: Path, photo: Image
) -> None:
    expected = load_upscaler(tmp_path / "large.safetensors", device="cpu", precision="float32")(photo)
    with pytest.raises(gan.NotFinite):
        reduced.forward(photo)
    np.testing.assert_allclose(reduced(photo), expected, atol=1e-5)
    assert reduced.dtype is torch.bfloat16, "only that one tile"


def test_float32_is_loaded_once_for_all_bad_tiles_and_can_be_stopped(
    reduced: GanUpscaler, photo: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    monkeypatch.setattr(ways, "read_network", lambda path: (reads.append(path), read_network(path))[1])
    for _ in range(3):
        reduced(photo)
    assert len(reads) == 1
    seen: list[int] = []

    def stop(step: int, of: int) -> None:
        seen.append(step)
        if len(seen) == 6:  # four steps of bfloat16, the second of float32
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        reduced(photo, on_step=stop)
    assert seen == [1, 2, 3, 4, 1, 2]


def test_what_is_not_finite_in_float32_is_not_computed_twice(photo: Image) -> None:
    upscaler = load_upscaler("realesr-animevideov3", device="cpu", precision="float32")
    runs: list[int] = []
    upscaler.network.model.register_forward_pre_hook(lambda module, inputs: runs.append(1))
    with pytest.raises(WeightsError, match="not finite, even in float32"):
        upscaler(np.full_like(photo, np.nan))
    assert len(runs) == 1


def test_a_precision_that_does_not_agree_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.safetensors"
    save_file(overflowing(), path)
    with pytest.raises(SettingsError, match="does not work in float16"):
        load_upscaler(path, device="cpu", precision="float16")
    tried = [Way("torch", name, "channels-last") for name in ("float32", "float16")]
    monkeypatch.setattr(load, "ways", lambda *_, **__: tried)
    assert load_upscaler(path, device="cpu").dtype is torch.float32


def test_nothing_finite_in_any_precision_is_an_error(photo: Image) -> None:
    upscaler = load_upscaler("realesr-animevideov3", device="cpu")
    with pytest.raises(WeightsError, match="not finite, even in float32"):
        upscaler(np.full_like(photo, np.nan))


# Backends


@pytest.mark.parametrize("bfloat16", [0.5, 2.0])
def test_the_number_format_is_the_one_that_is_fast(
    bfloat16: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever units the processor says it has; and the second time nothing is tried."""
    save_file(compact_state(), tmp_path / "x.safetensors")
    now = [0.0]

    def forward(upscaler: GanUpscaler, image: Image, **keywords: Any) -> Image:
        now[0] += bfloat16 if upscaler.dtype is torch.bfloat16 else 1.0
        return plain(upscaler, image, **keywords)

    plain = GanUpscaler.forward
    monkeypatch.setattr(GanUpscaler, "forward", forward)
    monkeypatch.setattr(backends, "_now", lambda device: now[0])
    expected = torch.bfloat16 if bfloat16 < 1 else torch.float32
    assert load_upscaler(tmp_path / "x.safetensors", device="cpu", backend="torch").dtype is expected
    monkeypatch.setattr(load, "compare", None)
    assert load_upscaler(tmp_path / "x.safetensors", device="cpu", backend="torch").dtype is expected


def test_a_changed_file_is_tried_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file(compact_state(), path)
    load_upscaler(path, device="cpu")
    save_file({name: tensor * float("nan") for name, tensor in compact_state().items()}, path)
    with pytest.raises(UnsupportedModel, match="not finite"):
        load_upscaler(path, device="cpu")


def test_a_remembered_way_that_fails_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file(compact_state(), path)
    among = backends.ways(CPU, backend="torch")
    known = Way("torch", "bfloat16", "winograd")  # it has no dense blocks
    backends.remember(CPU, ways.identity(weights.get(path, "gan")), among, known)
    assert load_upscaler(path, device="cpu", backend="torch").network.model is not None
    assert backends.recall(CPU, ways.identity(weights.get(path, "gan")), among) not in (None, known)


@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3"])
def test_bfloat16_is_close_to_float32(name: str, photo: Image) -> None:
    image = photo[:16, :16]
    exact = load_upscaler(name, device="cpu", precision="float32")(image)
    fast = load_upscaler(name, device="cpu", precision="bfloat16")
    assert fast.dtype is torch.bfloat16
    difference = np.abs(fast(image) - exact) * 255
    assert 0 < difference.mean() < 1
    assert difference.max() < 16


@pytest.mark.parametrize("form", ["channels-last", "winograd"])
@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-x4plus-anime"])
def test_half_a_step_of_eight_bits_is_what_bfloat16_is_off_on_average(name: str, form: str, photo: Image) -> None:
    model = weights.get(name, "gan")
    exact, fast = (
        ways.make(model, CPU, way)(photo[:48, :48]) for way in (backends.EXACT, Way("torch", "bfloat16", form))
    )
    assert 0 < np.abs(fast - exact).mean() * 255 < 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_gives_the_same_picture_stops_and_is_kept(precision: str, photo: Image, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "x.safetensors"
    save_file(compact_state(), path)
    exact = load_upscaler(path, device="cpu", precision="float32", backend="torch")
    upscaler = load_upscaler(path, device="cpu", precision=precision, backend="openvino")
    assert isinstance(upscaler.network.model, Compiled)
    assert not list(upscaler.network.model.parameters())
    for image in (photo, photo[:17, :30]):
        difference = np.abs(upscaler(image) - exact(image)) * 255
        assert difference.mean() < (1e-3 if precision == "float32" else 1)
    with pytest.raises(Cancelled):
        upscaler(photo, on_step=stop_at_once)
    assert np.isfinite(upscaler(photo)).all()
    kept = load_upscaler(path, device="cpu", precision=precision, backend="openvino")
    np.testing.assert_array_equal(kept(photo), upscaler(photo))
    with pytest.raises(WeightsError, match="not finite, even in float32"):
        upscaler(np.full_like(photo, np.nan))


def stop_at_once(step: int, of: int) -> None:
    raise Cancelled("stopped")


# Devices and memory


def test_the_cpu_is_always_there() -> None:
    assert devices.pick_device("cpu") == CPU
    assert str(devices.pick_device("auto")) == devices.available_devices()[0]


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "CPU"])
def test_a_missing_device_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"this machine has .*cpu"):
        load_upscaler("realesr-animevideov3", device=name)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="'int8' is not one of auto, float32"):
        load_upscaler("realesr-animevideov3", precision="int8")
    with pytest.raises(SettingsError, match="'onnx' is not one of auto, torch"):
        load_upscaler("realesr-animevideov3", backend="onnx")


def test_free_memory_is_within_the_machine() -> None:
    import psutil

    assert 0 < devices.free_memory(CPU) <= psutil.virtual_memory().total


def test_free_memory_respects_a_container(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 5\ninactive_file 50\n"),
    ):
        (tmp_path / name).write_text(text)
    assert list(memory.container_memory(tmp_path)) == [350]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(memory.container_memory(tmp_path)) == []
    assert list(memory.container_memory(tmp_path / "none")) == []


def too_much_cpu(batch: Any) -> Any:
    return torch.empty(1 << 46)


def too_much_cuda(batch: Any) -> Any:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...")


@pytest.mark.parametrize("fail", [too_much_cpu, too_much_cuda])
def test_memory_that_runs_out_is_one_line(fail: Callable[[Any], Any], photo: Image) -> None:
    upscaler = load_upscaler("realesr-animevideov3", device="cpu")
    upscaler.network.model.register_forward_pre_hook(lambda module, inputs: fail(inputs[0]))
    with pytest.raises(OutOfMemory, match=r"picture of 64x64 does not fit .* smaller tiles") as caught:
        upscaler(photo)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 GB\nmore")]
)
@pytest.mark.parametrize("at", ["load_file", "load_state_dict", "to"])
def test_memory_that_runs_out_while_loading_is_one_line(
    error: Exception, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reading if at == "load_file" else torch.nn.Module, at, fail)
    with pytest.raises(OutOfMemory, match=r"the model realesr-animevideov3 does not fit .* smaller model") as caught:
        load_upscaler("realesr-animevideov3", device="cpu", precision="float32")
    assert len(str(caught.value).splitlines()) == 1


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="something else"), devices.memory_errors(CPU, "x", "y"):
        raise RuntimeError("something else")


def test_memory_of_a_failed_step_is_free_again() -> None:
    import weakref

    kept: list[weakref.ref[Any]] = []

    def step() -> None:
        tensor = torch.ones(1000)
        kept.append(weakref.ref(tensor))
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(OutOfMemory) as caught, devices.memory_errors(CPU, "x", "y"):
        step()
    assert kept[0]() is None, caught.value


# Pictures


def test_the_result_is_the_same_picture_and_sharper(photo: Image) -> None:
    photo = photo[20:44, 20:44]
    result = load_upscaler("realesrgan-x4plus", device="cpu")(photo)
    back = result.reshape(24, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(back - photo).mean() * 255 < 10
    large = PIL.Image.fromarray((photo * 255).round().astype(np.uint8)).resize((96, 96), PIL.Image.Resampling.BICUBIC)
    smooth = np.asarray(large, np.float32) / 255
    assert sharpness(result) > 1.2 * sharpness(smooth)


def sharpness(image: Image) -> float:
    """Mean square of the differences between neighbours."""
    return float(np.square(np.diff(image, axis=0)).mean() + np.square(np.diff(image, axis=1)).mean())


def test_a_tile_can_be_stopped_within_it() -> None:
    upscaler = load_upscaler("realesr-animevideov3", device="cpu")
    image = np.full((32, 32, 3), 0.5, np.float32)
    seen: list[tuple[int, int]] = []
    plain = upscaler(image)
    np.testing.assert_array_equal(upscaler(image, on_step=lambda step, of: seen.append((step, of))), plain)
    assert [step for step, _ in seen] == list(range(1, 19))
    assert {of for _, of in seen} == {18}

    def stop(step: int, of: int) -> None:
        if step == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        upscaler(image, on_step=stop)
    seen.clear()
    upscaler(image)
    assert not seen  # the hooks are gone
