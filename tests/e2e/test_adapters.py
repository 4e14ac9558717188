"""LoRAs, new words, layers of the text encoder and long, weighted prompts: what diffusers makes of them, in our loop."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

import upscaler
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UnsupportedModel, WeightsNotFound
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.models.diffusion.text import Prompt, TextEncoder, padded
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_family

TILE: Image = np.random.default_rng(6).random((64, 64, 3), np.float32)
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("sd1"), "sd1")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("sdxl"), "sdxl")


def load(folder: Path, **options: object) -> upscaler.Refiner:
    return load_refiner(str(folder), device="cpu", precision="float32", **options)  # type: ignore[arg-type]


def refine(refiner: upscaler.Refiner, prompt: str = "a cat", **sampling: object) -> Image:
    said = Sampling(**{"steps": 2, "strength": 0.5, "prompt": prompt, "guidance": 3, **sampling})  # type: ignore[arg-type]
    return refiner([TILE], boxes=[Box(0, 0, 64, 64)], sampling=said, seed=0, on_step=lambda k, n: None)[0]


def text_of(refiner: upscaler.Refiner) -> TextEncoder:
    return refiner._parts.text  # type: ignore[attr-defined]


# LoRAs ------------------------------------------------------------------------------------------------------------------


def low_rank(module: torch.nn.Linear, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(2, module.in_features, generator=generator) * 0.3
    return down, torch.randn(module.out_features, 2, generator=generator) * 0.3


_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")


def make_lora(pipeline: object, form: str, file: Path, seed: int = 0) -> Path:
    """A LoRA of rank 2 on all attention of UNet and text encoders, as kohya's scripts or diffusers write it."""
    parts = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}  # type: ignore[attr-defined]
    if getattr(pipeline, "text_encoder_2", None) is not None:
        parts["text_encoder_2"] = pipeline.text_encoder_2  # type: ignore[attr-defined]
    short = {"unet": "unet", "text_encoder": "te1" if "text_encoder_2" in parts else "te", "text_encoder_2": "te2"}
    state: State = {}
    for part, network in parts.items():
        for index, (name, module) in enumerate(network.named_modules()):
            if isinstance(module, torch.nn.Linear) and name.endswith(_ATTENTION):
                down, up = low_rank(module, seed + index)
                if form == "kohya":
                    inner = name if part == "unet" else f"text_model.{name.removeprefix('text_model.')}"
                    place = f"lora_{short[part]}_{inner.replace('.', '_')}"
                    state |= {f"{place}.lora_down.weight": down, f"{place}.lora_up.weight": up}
                    state[f"{place}.alpha"] = torch.tensor(1.0)
                else:
                    state |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
    save_file(state, file)
    return file


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_loras_do_what_diffusers_does_with_them(
    form: str, family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    kind = StableDiffusionPipeline if family == "sd1" else StableDiffusionXLPipeline
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    style = make_lora(pipeline, form, tmp_path / "style.safetensors")
    faces = make_lora(pipeline, form, tmp_path / "faces.safetensors", seed=500)
    ours = load(folder, lora=f"{style}:0.8;{faces}:-0.5")
    plain = load(folder)
    pipeline.load_lora_weights(str(style), adapter_name="style")
    pipeline.load_lora_weights(str(faces), adapter_name="faces")
    pipeline.set_adapters(["style", "faces"], [0.8, -0.5])
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    prompt = text_of(ours)("a cat")
    added = {}
    if family == "sdxl":
        added = {"added_cond_kwargs": {"text_embeds": prompt.pooled, "time_ids": torch.zeros(1, 6)}}
        states, _, pooled, _ = pipeline.encode_prompt("a cat", do_classifier_free_guidance=False, device="cpu")
        torch.testing.assert_close(prompt.pooled, pooled, atol=1e-5, rtol=0)
    else:
        states, _ = pipeline.encode_prompt("a cat", "cpu", 1, False)
    torch.testing.assert_close(prompt.states, states, atol=1e-5, rtol=0)
    assert (prompt.states - text_of(plain)("a cat").states).abs().max() > 1e-3
    with torch.no_grad():
        arguments = (sample, torch.tensor(500))
        expected = pipeline.unet(*arguments, encoder_hidden_states=states, **added).sample
        found = ours._parts.unet(*arguments, encoder_hidden_states=states, **added).sample  # type: ignore[attr-defined]
        without = plain._parts.unet(*arguments, encoder_hidden_states=states, **added).sample  # type: ignore[attr-defined]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - without).abs().max() > 1e-2
    assert not [name for name, _ in ours._parts.unet.named_modules() if "lora" in name]  # type: ignore[attr-defined]


def test_a_lora_of_weight_0_changes_nothing(sd1: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(sd1, local_files_only=True)
    style = make_lora(pipeline, "kohya", tmp_path / "style.safetensors")
    np.testing.assert_allclose(refine(load(sd1, lora=f"{style}:0")), refine(load(sd1)), atol=1e-5)


def test_wrong_loras_get_one_line(sd1: Path, sdxl: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(sdxl, local_files_only=True)
    other = make_lora(pipeline, "diffusers", tmp_path / "xl.safetensors")
    empty = tmp_path / "empty.safetensors"
    save_file({"lora_unet_nowhere.lora_down.weight": torch.zeros(2, 2)}, empty)
    vae = tmp_path / "vae.safetensors"
    save_file({"encoder.conv_in.weight": torch.zeros(1), "decoder.conv_in.weight": torch.zeros(1)}, vae)
    for name, error, words in (
        (str(other), UnsupportedModel, "LoRA"),
        (str(empty), UnsupportedModel, "LoRA"),
        (str(vae), UnsupportedModel, "is not a LoRA; it holds an autoencoder"),
        ("nowhere", WeightsNotFound, "no lora model 'nowhere'"),
    ):
        with pytest.raises(error, match=words) as caught:
            load(sd1, lora=name)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(SettingsError, match=r"diffusion\.lora: pocket takes no LoRA"):
        load_refiner("pocket", lora=str(other))


# words ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["WebUI", "diffusers"])
def test_new_words(form: str, sd1: Path, tmp_path: Path) -> None:
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(2))
    file = tmp_path / "mossy.safetensors"
    save_file({"emb_params" if form == "WebUI" else "<moss>": vectors}, file)
    encoder = text_of(load(sd1, embedding=str(file)))
    tokenizer, model = encoder._encoders[0]
    ids = tokenizer("a mossy cat", add_special_tokens=False).input_ids
    table = model.get_input_embeddings().weight
    assert torch.equal(table[ids[1]], vectors[0])
    pipeline = StableDiffusionPipeline.from_pretrained(sd1, local_files_only=True)
    pipeline.load_textual_inversion({"mossy": vectors}, token="mossy")
    states, _ = pipeline.encode_prompt("a mossy cat", "cpu", 1, False)
    torch.testing.assert_close(encoder("a mossy cat").states, states, atol=1e-5, rtol=0)
    assert not torch.allclose(encoder("a mossy cat").states, text_of(load(sd1))("a mossy cat").states)


def test_new_words_in_a_pickle_of_webui(sd1: Path, tmp_path: Path) -> None:
    file = tmp_path / "mossy.pt"
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(1, 32)}, "name": "moss"}, file)
    with pytest.raises(SettingsError, match="--allow-pickle"):
        load(sd1, embedding=str(file))
    tokenizer, model = text_of(load(sd1, embedding=str(file), allow_pickle=True))._encoders[0]
    (token,) = tokenizer("mossy", add_special_tokens=False).input_ids
    assert (model.get_input_embeddings().weight[token] == 1).all()


def test_new_words_of_sdxl(sd1: Path, sdxl: Path, tmp_path: Path) -> None:
    file = tmp_path / "mossy.safetensors"
    save_file({"clip_l": torch.ones(1, 32), "clip_g": torch.ones(1, 32) * 2}, file)
    encoders = text_of(load(sdxl, embedding=str(file)))._encoders
    for (tokenizer, model), value in zip(encoders, (1, 2)):
        (token,) = tokenizer("mossy", add_special_tokens=False).input_ids
        assert (model.get_input_embeddings().weight[token] == value).all()
    with pytest.raises(UnsupportedModel, match="this embedding is for SDXL"):
        load(sd1, embedding=str(file))
    save_file({"emb_params": torch.ones(1, 32)}, file)
    with pytest.raises(UnsupportedModel, match="is not for SDXL"):
        load(sdxl, embedding=str(file))
    save_file({"emb_params": torch.ones(1, 768)}, file)
    with pytest.raises(UnsupportedModel, match="vectors of 768, the model's text encoder of 32"):
        load(sd1, embedding=str(file))


# prompts ----------------------------------------------------------------------------------------------------------------


def test_clip_skip(sd1: Path, sdxl: Path) -> None:
    encoder = text_of(load(sd1))
    tokenizer, model = encoder._encoders[0]
    with torch.no_grad():
        ids = tokenizer("a cat", padding="max_length", return_tensors="pt").input_ids
        layers = model(ids, output_hidden_states=True).hidden_states
    for skip in (1, 2, 3):
        states = getattr(model, "text_model", model).final_layer_norm(layers[-skip])
        torch.testing.assert_close(text_of(load(sd1, clip_skip=skip))("a cat").states, states, atol=1e-6, rtol=0)
    usual = text_of(load(sdxl))("a cat").states
    assert torch.equal(text_of(load(sdxl, clip_skip=2))("a cat").states, usual)
    assert not torch.equal(text_of(load(sdxl, clip_skip=3))("a cat").states, usual)


def test_weights_scale_the_states_of_their_tokens_and_keep_the_mean(sd1: Path) -> None:
    encoder = text_of(load(sd1))
    plain = encoder("a red cat").states
    weighted = encoder("a (red:1.5) cat").states
    factor = weighted[0, 1, 0] / plain[0, 1, 0]
    torch.testing.assert_close(weighted[0, 2], plain[0, 2] * 1.5 * factor)
    torch.testing.assert_close(weighted[0, 3:], plain[0, 3:] * factor)
    torch.testing.assert_close(weighted.mean(), plain.mean())
    assert torch.equal(encoder("a (red:1.0) cat").states, plain)


def test_long_prompts_are_encoded_in_chunks(sd1: Path) -> None:
    encoder = text_of(load(sd1))
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] * 8
    long = encoder(" ".join(words)).states
    assert long.shape[1] == 2 * 77
    assert torch.equal(long[:, :77], encoder(" ".join(words[:75])).states)
    assert torch.equal(long[:, 77:], encoder(" ".join(words[75:])).states)
    assert torch.equal(encoder("a BREAK b").states, torch.cat([encoder("a").states, encoder("b").states], dim=1))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_prompts_of_any_length_go_together(family: str, request: pytest.FixtureRequest) -> None:
    refiner = load(request.getfixturevalue(family))
    long = "one two three four five six seven eight nine ten " * 9
    different = [
        refine(refiner, "a cat", negative_prompt=""),
        refine(refiner, long),
        refine(refiner, "a cat", negative_prompt=long),
        refine(refiner, long, negative_prompt=long),
    ]
    assert all(np.isfinite(tile).all() for tile in different)
    assert all(np.abs(a - b).max() > 1e-5 for i, a in enumerate(different) for b in different[:i])
    encoder = text_of(refiner)
    short, other = padded([encoder("a cat"), encoder(long)], encoder)
    assert short.states.shape == other.states.shape
    assert torch.equal(short.states[:, 77:], encoder("").states)
    assert isinstance(short, Prompt)
