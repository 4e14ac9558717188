"""Stable Diffusion checkpoints with random weights: the real classes and the real folder format, in a few megabytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from upscaler import weights


def make_sd(folder: Path, *, prediction: str = "epsilon", vae: str = "kl") -> Path:
    """An SD 1.x (epsilon) or 2.x (v_prediction) checkpoint."""
    torch.manual_seed(1)
    parts = {
        "unet": _unet(cross=32),
        "vae": _vae(vae),
        "text_encoder": CLIPTextModel(_text(32)),
        "scheduler": _scheduler(prediction),
    }
    return _save(folder, "StableDiffusionPipeline", parts, ["tokenizer"])


def make_sdxl(folder: Path) -> Path:
    """An SDXL checkpoint: two text encoders, and sizes as extra conditions."""
    torch.manual_seed(2)
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32,
    }
    parts = {
        "unet": _unet(cross=64, **extra),
        "vae": _vae("kl"),
        "text_encoder": CLIPTextModel(_text(32)),
        "text_encoder_2": CLIPTextModelWithProjection(_text(32)),
        "scheduler": _scheduler("epsilon"),
    }
    return _save(
        folder, "StableDiffusionXLPipeline", parts, ["tokenizer", "tokenizer_2"], force_zeros_for_empty_prompt=True
    )


def make_family(folder: Path, family: str) -> Path:
    """A checkpoint with the levels and the words of a family, "sd1", "sd2", "sdxl" or "refiner", in narrow layers.

    Other than those above it fits a single file: diffusers' converter counts on two layers a level, and the file brings no
    tokenizer.
    """
    from upscaler.models.diffusion.clip import clip_tokenizer

    torch.manual_seed(7)
    real = json.loads((weights.family_folder(family) / "unet" / "config.json").read_text())
    cross = {"sdxl": 64}.get(family, 32)
    config = {**real, "sample_size": 16, "cross_attention_dim": cross, "norm_num_groups": 4, "attention_head_dim": 4}
    config["block_out_channels"] = [8 * (level + 1) for level in range(len(real["block_out_channels"]))]
    if "addition_embed_type" in real:
        numbers = 5 if family == "refiner" else 6
        config |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": numbers * 8 + 32}
    parts: dict[str, Any] = {"unet": UNet2DConditionModel(**config), "vae": _vae("kl", layers=2)}
    index = json.loads((weights.family_folder(family) / "model_index.json").read_text())
    for suffix in ("", "_2"):
        if index.get(f"text_encoder{suffix}", [None])[0]:
            kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
            parts[f"text_encoder{suffix}"] = kind(_text(32, words=49408))
    parts["scheduler"] = _scheduler("epsilon")
    extra = {key: index[key] for key in ("force_zeros_for_empty_prompt", "requires_aesthetics_score") if key in index}
    _save(folder, index["_class_name"], parts, [], **extra)
    index = json.loads((folder / "model_index.json").read_text())
    for suffix in ("", "_2"):
        if f"text_encoder{suffix}" in parts:
            pad = "<|endoftext|>" if not suffix and family != "sd2" else "!"
            clip_tokenizer(pad).save_pretrained(folder / f"tokenizer{suffix}")
            index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_control(folder: Path, checkpoint: Path, *, pickled: bool = False) -> Path:
    """A ControlNet for that checkpoint; untrained ones add zeros, so its last layers are drawn at random."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    torch.manual_seed(3)
    control: Any = ControlNetModel.from_unet(unet)
    for layer in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(layer.weight, std=0.3)
    control.save_pretrained(folder, safe_serialization=not pickled)
    return folder


def _unet(cross: int, **extra: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=cross, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8, **extra,
    )  # fmt: skip


def _vae(kind: str, layers: int = 1) -> AutoencoderKL | AutoencoderTiny:
    if kind == "tiny":
        return AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8,) * 4,
    }
    return AutoencoderKL(norm_num_groups=4, latent_channels=4, layers_per_block=layers, **blocks)


def _text(width: int, words: int = 514) -> CLIPTextConfig:
    """The last two of the words are the marks of start and end."""
    return CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=width, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
    )  # fmt: skip


def _scheduler(prediction: Any) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
        clip_sample=False, steps_offset=1,
    )  # fmt: skip


def _save(folder: Path, kind: str, parts: dict[str, Any], tokenizers: list[str], **extra: Any) -> Path:
    index: dict[str, Any] = {"_class_name": kind, **extra}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = ["transformers" if name.startswith("text") else "diffusers", type(part).__name__]
    for name in tokenizers:
        _tokenizer(folder / name)
        index[name] = ["transformers", "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _tokenizer(folder: Path) -> None:
    """A CLIP tokenizer that knows single bytes only."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
