"""Single-file checkpoints: the same picture as the folder they were made from, and one line for what is no such file."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import upscaler
from upscaler import families, weights
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UnsupportedModel
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.models.diffusion.autoencoder import ready_codec
from upscaler.models.diffusion.clip import clip_tokenizer
from upscaler.models.diffusion.parts import measured_prediction
from upscaler.models.diffusion.sampling import Sampler
from upscaler.options.settings import Sampling, options

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_family, make_sd
from single_files import kl_names, single_file, single_state

TILE: Image = np.random.default_rng(5).random((64, 64, 3), np.float32)
SCHEDULERS = [name for option in options() if option.name == "scheduler" for name in option.choices if name != "auto"]
FAMILIES = list(families.SINGLE_FILES)


def refine(refiner: upscaler.Refiner) -> Image:
    sampling = Sampling(steps=2, strength=0.5, prompt="a cat on a très wide mat", guidance=3)
    return refiner([TILE], boxes=[Box(0, 0, 64, 64)], sampling=sampling, seed=0, on_step=lambda k, n: None)[0]


def load(path: Path, **options: object) -> upscaler.Refiner:
    return load_refiner(str(path), device="cpu", precision="float32", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A narrow model of each family in diffusers format."""
    return {family: make_family(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def narrow(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of a family are those of its narrow model."""
    monkeypatch.setattr(weights, "family_folder", folders.__getitem__)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_draws_what_the_folder_draws_that_it_was_made_from(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    file = single_file(folders[family], tmp_path / "model-vpred.safetensors", family)
    config = json.loads((folders[family] / "scheduler" / "scheduler_config.json").read_text())
    from_folder = load(folders[family])
    from_folder._parts.scheduler["prediction_type"] = "v_prediction"  # type: ignore[attr-defined]
    assert config["prediction_type"] == "epsilon"
    from_file = load(file)
    assert refine(from_file).tobytes() == refine(from_folder).tobytes()
    assert from_file.about == f"{families.SINGLE_FILES[family]}, single file, float32"  # type: ignore[attr-defined]


def test_a_run_tells_the_family(folders: dict[str, Path], tmp_path: Path) -> None:
    file = single_file(folders["sd1"], tmp_path / "photo.safetensors", "sd1")
    events = upscaler.run(TILE, scale=1, gan="none", model=str(file), seams="none", device="cpu")
    told = [event.message for event in events if isinstance(event, upscaler.Notice)]
    assert f"{file}: SD 1.x, single file, float32" in told


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_every_number_format_is_read(dtype: torch.dtype, folders: dict[str, Path], tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in single_state(folders["sd1"], "sd1").items()}
    file = tmp_path / "small.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    small = load(file)
    assert {weight.dtype for weight in small._parts.unet.parameters()} == {torch.float32}  # type: ignore[attr-defined]
    weight = small._parts.unet.conv_in.weight  # type: ignore[attr-defined]
    torch.testing.assert_close(weight.contiguous(), state["model.diffusion_model.input_blocks.0.0.weight"].float())
    assert np.abs(refine(small) - refine(load(folders["sd1"]))).mean() < 0.05


def test_averaged_weights_beside_the_plain_ones_are_left_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    averaged = {f"model_ema.diffusion_modelx{n}": torch.zeros(1) for n in range(200)}
    file = single_file(folders["sd1"], tmp_path / "full.safetensors", "sd1", **averaged)
    assert refine(load(file)).tobytes() == refine(load(folders["sd1"])).tobytes()


def test_a_pickle_is_read_weights_only_and_on_request(folders: dict[str, Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    state = single_state(folders["sd1"], "sd1")
    file = tmp_path / "model.ckpt"
    torch.save({"state_dict": state, "callbacks": {"x": _Touch(marker)}, "epoch": 3}, file)
    with pytest.raises(SettingsError, match=r"diffusion\.allow_pickle: .*--allow-pickle.*models convert") as caught:
        load(file)
    assert len(str(caught.value).splitlines()) == 1
    assert refine(load(file, allow_pickle=True)).tobytes() == refine(load(folders["sd1"])).tobytes()
    assert not marker.exists()


class _Touch:
    """Something that a training program left in a file, and that would run code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pickle.loads, (f"no {self.marker}",)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("first_stage_model.", ["no autoencoder (VAE)", "--vae PATH", "SD 1.x"]),
        ("cond_stage_model.", ["no text encoder"]),
        ("model.diffusion_model.out.", ["its UNet is not that of SD 1.x", "missing"]),
        ("cond_stage_model.transformer.text_model.final", ["its text encoder is not that of SD 1.x"]),
    ],
)
def test_what_is_missing_is_named(part: str, words: list[str], folders: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "pruned.safetensors"
    # without a text encoder the width of its words tells the family
    wide = {"model.diffusion_model.wide.attn2.to_k.weight": torch.zeros(1, 768)} if part == "cond_stage_model." else {}
    single_file(folders["sd1"], file, "sd1", leave_out=part, **wide)
    with pytest.raises(UnsupportedModel) as caught:
        load(file)
    message = str(caught.value)
    assert all(word in message for word in [str(file), *words]), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("form", ["original names", "diffusers names", "folder", "tiny", "tiny folder"])
def test_another_autoencoder(form: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """A file without one and the file of another one draw what a folder with that other one draws."""
    other = make_sd(tmp_path / "other", vae="tiny" if "tiny" in form else "kl")
    torch.manual_seed(3)
    config = json.loads((folders["sd1"] / "vae" / "config.json").read_text())
    if form.startswith("tiny"):
        from diffusers import AutoencoderTiny

        vae = AutoencoderTiny(scaling_factor=1.0)
    else:
        vae = AutoencoderKL.from_config(config)
    vae.save_pretrained(other / "vae")
    (stored,) = (other / "vae").glob("*.safetensors")
    place = tmp_path / "vae.safetensors"
    if form == "original names":
        save_file({f"first_stage_model.{n}": v.contiguous() for n, v in kl_names(load_file(stored), 4).items()}, place)
    elif form in ("diffusers names", "tiny"):
        save_file(load_file(stored), place)
    else:
        place = other / "vae"
    bare = single_file(folders["sd1"], tmp_path / "bare.safetensors", "sd1", leave_out="first_stage_model.")
    whole = load(folders["sd1"])
    codec = ready_codec(vae, torch.device("cpu"), torch.float32)
    whole._parts = whole._parts.__class__(**{**whole._parts.__dict__, "codec": codec})  # type: ignore[attr-defined]
    expected = refine(whole)
    assert refine(load(bare, vae=str(place))).tobytes() == expected.tobytes()
    assert refine(load(folders["sd1"], vae=str(place))).tobytes() == expected.tobytes()


def test_what_is_no_autoencoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, place)
    with pytest.raises(UnsupportedModel, match=r"autoencoder.*holds a LoRA; give it as --lora"):
        load(folders["sd1"], vae=str(place))
    with pytest.raises(SettingsError, match=r"diffusion\.vae: pocket takes no other autoencoder"):
        load_refiner("pocket", vae=str(place))


def test_the_words_of_clip() -> None:
    """Token numbers that OpenAI's tokenizer gives."""
    tokenizer = clip_tokenizer("<|endoftext|>")
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Hello,  WORLD!").input_ids == [49406, 3306, 267, 1002, 256, 49407]
    assert tokenizer("", padding="max_length").input_ids == [49406, *[49407] * 76]
    assert clip_tokenizer("!")("", padding="max_length").input_ids == [49406, 49407, *[0] * 75]


@pytest.mark.parametrize(
    ("family", "unet", "texts"),
    [
        ("sd1", 859_520_964, {"text_encoder": 123_060_480}),
        ("sd2", 865_910_724, {"text_encoder": 340_387_840}),
        ("sdxl", 2_567_463_684, {"text_encoder": 123_060_480, "text_encoder_2": 694_659_840}),
        ("refiner", None, {"text_encoder_2": 694_659_840}),
    ],
)
def test_the_shapes_of_the_families(
    family: str, unet: int | None, texts: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published numbers of parameters; of the refiner's UNet there is none."""
    monkeypatch.undo()
    folder = weights.family_folder(family)
    with init_empty_weights():
        model = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
        encoders = {
            name: (CLIPTextModelWithProjection if name.endswith("2") else CLIPTextModel)(
                CLIPTextConfig.from_pretrained(folder / name)
            )
            for name in texts
        }
    assert unet in (None, sum(weight.numel() for weight in model.parameters()))
    assert sum(weight.numel() for weight in vae.parameters()) == 83_653_863
    assert {name: sum(w.numel() for w in encoder.parameters()) for name, encoder in encoders.items()} == texts


def test_what_sd2_predicts_is_measured(folders: dict[str, Path], tmp_path: Path) -> None:
    file = single_file(folders["sd2"], tmp_path / "some.safetensors", "sd2")
    refiner = load(file)  # an untrained network does not give its input back
    assert refiner.about.endswith("predicts v (measured)")  # type: ignore[attr-defined]

    class Eps(torch.nn.Module):
        config: ClassVar = {"in_channels": 4, "cross_attention_dim": 8}

        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(1))

        def forward(self, sample: torch.Tensor, *_: object, **__: object) -> object:
            noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(1))
            return type("Output", (), {"sample": sample * self.gain + 0.5 * noise})

    assert measured_prediction(Eps()) == "epsilon"
    assert measured_prediction(Eps().requires_grad_(False)) == "epsilon"
    (file.with_suffix(".yaml")).write_text("model:\n  params:\n    parameterization: x0\n")
    assert load(file)._parts.scheduler["prediction_type"] == "epsilon"  # type: ignore[attr-defined]
    (file.with_suffix(".yaml")).write_text('model:\n  params:\n    parameterization: "v"\n')
    assert load(file)._parts.scheduler["prediction_type"] == "v_prediction"  # type: ignore[attr-defined]


def test_a_schedule_that_ends_in_pure_noise(folders: dict[str, Path], tmp_path: Path) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    refiner = load(single_file(folders["sdxl"], tmp_path / "noob.safetensors", "sdxl", **marks))
    config = refiner._parts.scheduler  # type: ignore[attr-defined]
    assert config["prediction_type"] == "v_prediction"
    for name in SCHEDULERS:
        sampler = Sampler(name, config, strength=1.0, steps=4, device=torch.device("cpu"))
        clean, noise = torch.full((1, 4, 8, 8), 3.0), torch.ones(1, 4, 8, 8)
        started = sampler.scale(sampler.start(clean, noise), sampler.timesteps[0])
        torch.testing.assert_close(started, noise, atol=2e-3, rtol=0)
        assert torch.isfinite(torch.as_tensor(sampler._scheduler.sigmas)).all()


def test_a_file_that_was_cut_off_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    file = single_file(folders["sd1"], tmp_path / "cut.safetensors", "sd1")
    content = file.read_bytes()
    file.write_bytes(content[:-1000])
    with pytest.raises(UnsupportedModel, match=r"is cut off .*download it again"):
        load(file)
    for damaged in (b"", b"\xff" * 100, struct.pack("<Q", 40) + b"[" * 40, content[:100]):
        file.write_bytes(damaged)
        with pytest.raises(UnsupportedModel) as caught:
            load(file)
        assert len(str(caught.value).splitlines()) == 1
